//! A hash table in pieces that its copies share until one of them is written to.
//!
//! A copy costs one pointer; a write to a copy duplicates the one piece that it changes, about a
//! hundred elements; two copies are compared by looking only at pieces that are not the same memory.
//! So a large table is changed, handed out, kept and compared at the cost of what changed.

use std::borrow::Borrow;
use std::collections::{HashMap, hash_map};
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::ops::Index;
use std::sync::{Arc, OnceLock};

/// Elements of a piece, on average, at which pieces are split.
const FULL: usize = 128;
/// Bits of the hash that neither a piece's own buckets nor its tags are made of.
const SHIFT: u32 = 20;

type Piece<K, V> = HashMap<K, V, Mix>;

/// See the module.
pub struct Shards<K, V> {
    /// A power of two of them, or none.
    pieces: Arc<Vec<Arc<Piece<K, V>>>>,
    len: usize,
}

impl<K: Hash + Eq + Clone, V: Clone + PartialEq> Shards<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.pieces.get(place(key, self.pieces.len()))?.get(key)
    }

    /// Whether a key is there.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        if !self.contains_key(key) {
            return None;
        }
        self.piece_mut(key)?.get_mut(key)
    }

    /// Adds or replaces a value and returns the one before. A value that is there already is not
    /// written, so that what was shared stays shared.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.get(&key) == Some(&value) {
            return Some(value);
        }
        self.grow();
        let before = self.piece_mut(&key).and_then(|piece| piece.insert(key, value));
        self.len += usize::from(before.is_none());
        before
    }

    /// Removes a key and returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        if !self.contains_key(key) {
            return None;
        }
        let before = self.piece_mut(key).and_then(|piece| piece.remove(key));
        self.len -= usize::from(before.is_some());
        before
    }

    /// All elements, in no order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter { pieces: self.pieces.iter(), piece: None }
    }

    /// All keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// All values, in no order, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let pieces = Arc::make_mut(&mut self.pieces).iter_mut();
        pieces.flat_map(|piece| Arc::make_mut(piece).values_mut())
    }

    /// Hands every key to `each` that one of the two lacks or has with another value.
    pub fn differences<'s>(&'s self, other: &'s Self, mut each: impl FnMut(&'s K)) {
        if Arc::ptr_eq(&self.pieces, &other.pieces) {
            return;
        }
        if self.pieces.len() == other.pieces.len() {
            for (one, two) in self.pieces.iter().zip(&*other.pieces) {
                if Arc::ptr_eq(one, two) {
                    continue;
                }
                let changed = one.iter().filter(|(key, value)| two.get(*key) != Some(*value));
                changed.for_each(|(key, _)| each(key));
                two.keys().filter(|key| !one.contains_key(*key)).for_each(&mut each);
            }
            return;
        }
        let changed = self.iter().filter(|(key, value)| other.get(*key) != Some(*value));
        changed.for_each(|(key, _)| each(key));
        other.keys().filter(|key| !self.contains_key(*key)).for_each(each);
    }

    fn piece_mut(&mut self, key: &K) -> Option<&mut Piece<K, V>> {
        let at = place(key, self.pieces.len());
        Arc::make_mut(&mut self.pieces).get_mut(at).map(Arc::make_mut)
    }

    /// Makes twice as many pieces when those there are full.
    fn grow(&mut self) {
        let count = self.pieces.len();
        if count > 0 && self.len < count * FULL {
            return;
        }
        let mut pieces: Vec<Piece<K, V>> = Vec::new();
        pieces.resize_with((2 * count).max(1), HashMap::default);
        for (key, value) in self.iter() {
            if let Some(piece) = pieces.get_mut(place(key, 2 * count)) {
                piece.insert(key.clone(), value.clone());
            }
        }
        self.pieces = Arc::new(pieces.into_iter().map(Arc::new).collect());
    }
}

impl<K, V> Shards<K, V> {
    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Which of `count` pieces a key is in.
fn place<Q: Hash + ?Sized>(key: &Q, count: usize) -> usize {
    let hash = usize::try_from(Mix.hash_one(key) >> SHIFT).unwrap_or(0);
    hash & count.wrapping_sub(1)
}

/// Elements of a table.
pub struct Iter<'s, K, V> {
    pieces: std::slice::Iter<'s, Arc<Piece<K, V>>>,
    piece: Option<hash_map::Iter<'s, K, V>>,
}

impl<'s, K, V> Iterator for Iter<'s, K, V> {
    type Item = (&'s K, &'s V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.piece.as_mut().and_then(Iterator::next) {
                return Some(found);
            }
            self.piece = Some(self.pieces.next()?.iter());
        }
    }
}

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Self {
        Self { pieces: Arc::clone(&self.pieces), len: self.len }
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self { pieces: Arc::default(), len: 0 }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Shards<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for piece in &*self.pieces {
            map.entries(piece.iter());
        }
        map.finish()
    }
}

impl<K: Hash + Eq + Clone, V: Clone + PartialEq> PartialEq for Shards<K, V> {
    fn eq(&self, other: &Self) -> bool {
        if self.len != other.len || Arc::ptr_eq(&self.pieces, &other.pieces) {
            return self.len == other.len;
        }
        if self.pieces.len() == other.pieces.len() {
            let mut pairs = self.pieces.iter().zip(&*other.pieces);
            return pairs.all(|(one, two)| Arc::ptr_eq(one, two) || one == two);
        }
        self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

impl<K: Hash + Eq + Clone, V: Clone + Eq> Eq for Shards<K, V> {}

impl<K: Hash + Eq + Clone, V: Clone + PartialEq> Index<&K> for Shards<K, V> {
    type Output = V;

    /// # Panics
    ///
    /// When the key is not there.
    fn index(&self, key: &K) -> &V {
        match self.get(key) {
            Some(value) => value,
            None => panic!("no such key"),
        }
    }
}

impl<'s, K: Hash + Eq + Clone, V: Clone + PartialEq> IntoIterator for &'s Shards<K, V> {
    type Item = (&'s K, &'s V);
    type IntoIter = Iter<'s, K, V>;

    fn into_iter(self) -> Iter<'s, K, V> {
        self.iter()
    }
}

impl<K: Hash + Eq + Clone, V: Clone + PartialEq> Extend<(K, V)> for Shards<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, elements: I) {
        for (key, value) in elements {
            self.insert(key, value);
        }
    }
}

impl<'s, K, V> Extend<(&'s K, &'s V)> for Shards<K, V>
where
    K: Hash + Eq + Copy,
    V: Copy + PartialEq,
{
    fn extend<I: IntoIterator<Item = (&'s K, &'s V)>>(&mut self, elements: I) {
        self.extend(elements.into_iter().map(|(key, value)| (*key, *value)));
    }
}

impl<K: Hash + Eq + Clone, V: Clone + PartialEq> FromIterator<(K, V)> for Shards<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(elements: I) -> Self {
        let mut this = Self::default();
        this.extend(elements);
        this
    }
}

/// Makes hashers of numbers: one multiplication a word, with a start that another process does not
/// have, so that no file can be written to make a table slow.
#[derive(Clone, Copy, Default)]
struct Mix;

impl BuildHasher for Mix {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        static START: OnceLock<u64> = OnceLock::new();
        Mixer(*START.get_or_init(|| RandomState::new().hash_one(0_u8)))
    }
}

struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        /// Odd, with as many ones as zeros: 2^64 divided by the golden ratio.
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(self.0 ^ value).wrapping_mul(u128::from(FACTOR));
        let [low, high] = [product, product >> 64].map(|half| half & u128::from(u64::MAX));
        self.0 = u64::try_from(low ^ high).unwrap_or(0).rotate_left(23);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(numbers: impl Iterator<Item = u64>) -> Shards<u64, u64> {
        numbers.map(|number| (number, number * 3)).collect()
    }

    #[test]
    fn it_holds_what_a_hash_map_holds() {
        let mut shards = Shards::default();
        let mut map = HashMap::new();
        let mut number = 1_u64;
        for step in 0..20_000_u64 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step);
            let key = (number >> 40) % 3_000;
            if number >> 60 < 6 {
                assert_eq!(shards.remove(&key), map.remove(&key));
            } else {
                assert_eq!(shards.insert(key, step), map.insert(key, step));
            }
            assert_eq!(shards.len(), map.len());
            assert_eq!(shards.get(&key), map.get(&key));
        }
        let mut found: Vec<_> = shards.iter().map(|(key, value)| (*key, *value)).collect();
        let mut wanted: Vec<_> = map.into_iter().collect();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_copy_is_changed_alone_and_shares_the_rest() {
        let old = table(0..10_000);
        let mut new = old.clone();
        assert_eq!(new.insert(7, 21), Some(21));
        assert!(Arc::ptr_eq(&old.pieces, &new.pieces), "an equal value is not written");
        new.insert(7, 0);
        new.remove(&8);
        new.insert(20_000, 1);
        *new.get_mut(&9).expect("nine") = 5;
        assert_eq!((old.get(&7), old.get(&8), old.get(&9)), (Some(&21), Some(&24), Some(&27)));
        let shared = old.pieces.iter().zip(&*new.pieces).filter(|(a, b)| Arc::ptr_eq(a, b));
        assert!(shared.count() >= old.pieces.len() - 4);
        let mut found = Vec::new();
        old.differences(&new, |key| found.push(*key));
        found.sort_unstable();
        assert_eq!(found, [7, 8, 9, 20_000]);
        assert_ne!(old, new);
    }

    #[test]
    fn tables_of_other_sizes_are_compared_by_what_they_hold() {
        let (small, mut large) = (table(0..100), table(0..5_000));
        let mut found = 0;
        small.differences(&large, |_| found += 1);
        assert_eq!(found, 4_900);
        for number in 100..5_000 {
            large.remove(&number);
        }
        assert_eq!(small, large);
        large.differences(&small, |key| panic!("{key} does not differ"));
    }

    #[test]
    fn pieces_are_filled_evenly() {
        for step in [1, 64, 4_096, 1 << 32] {
            let shards = table((0..40_000).map(|number| number * step));
            let most = shards.pieces.iter().map(|piece| piece.len()).max().unwrap_or(0);
            assert!(most < 2 * FULL, "{step}: {most}");
        }
    }
}
