//! A value that its copies share until one of them changes it.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Copied in no time; the first change of a shared one copies the value. Two that share it are equal without a look.
///
/// What is in force is a snapshot for many readers, and the next one differs in little: whatever did not change is the
/// same memory.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct CopyOnWrite<T>(Arc<T>);

impl<T> CopyOnWrite<T> {
    /// Whether both are the same memory, and so equal.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> From<T> for CopyOnWrite<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Clone for CopyOnWrite<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for CopyOnWrite<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for CopyOnWrite<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: Default> Default for CopyOnWrite<T> {
    fn default() -> Self {
        Self::from(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for CopyOnWrite<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: PartialEq> PartialEq for CopyOnWrite<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_shared_with(other) || **self == **other
    }
}

impl<T: Eq> Eq for CopyOnWrite<T> {}

impl<A, T: FromIterator<A>> FromIterator<A> for CopyOnWrite<T> {
    fn from_iter<I: IntoIterator<Item = A>>(elements: I) -> Self {
        Self::from(elements.into_iter().collect::<T>())
    }
}

#[expect(clippy::into_iter_without_iter, reason = "the value's own is reached through `Deref`")]
impl<'v, T> IntoIterator for &'v CopyOnWrite<T>
where
    &'v T: IntoIterator,
{
    type Item = <&'v T as IntoIterator>::Item;
    type IntoIter = <&'v T as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        (**self).into_iter()
    }
}

#[expect(clippy::into_iter_without_iter, reason = "the value's own is reached through `DerefMut`")]
impl<'v, T: Clone> IntoIterator for &'v mut CopyOnWrite<T>
where
    &'v mut T: IntoIterator,
{
    type Item = <&'v mut T as IntoIterator>::Item;
    type IntoIter = <&'v mut T as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        (**self).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_by_nobody_else() {
        let one: CopyOnWrite<Vec<u32>> = (0..3).collect();
        let mut other = one.clone();
        assert!(one.is_shared_with(&other) && one == other);
        for number in &mut other {
            *number += 1;
        }
        other.push(9);
        assert_eq!((one.as_slice(), other.as_slice()), (&[0, 1, 2][..], &[1, 2, 3, 9][..]));
        assert_ne!(one, other);
    }
}
