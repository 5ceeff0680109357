//! Frames by the thousand: plausible ones, and plausible ones with something wrong.

use testkit::packet::{Frame, ip};

use super::{A, ADDRESSES, B, GATEWAY_MAC, mac};

/// A small generator of numbers (xorshift64*), so that a seed tells everything.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        number as usize % bound.max(1)
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// An endpoint, whether it sends, and a frame.
pub(crate) fn next(random: &mut Random) -> (u32, bool, Vec<u8>) {
    let (number, sent) = (random.pick(&[A, B]), !random.chance(4));
    let family = random.below(2);
    let own = ADDRESSES[number as usize - 1][family];
    let other = match random.below(6) {
        0 => ["203.0.113.9", "2001:db8::9"][family],
        1 => ["224.0.0.1", "ff02::1"][family],
        _ => ADDRESSES[2 - number as usize][family],
    };
    let own = if random.chance(30) { ["10.0.1.77", "fd00:5::77"][family] } else { own };
    let far = if random.chance(3) { GATEWAY_MAC } else { mac(3 - number) };
    let near = if random.chance(40) { [2; 6] } else { mac(number) };
    let frame = if sent {
        Frame::new(near, far).ip(ip(own), ip(other))
    } else {
        Frame::new(far, near).ip(ip(other), ip(own))
    };
    let hops = random.pick(&[64, 64, 1, 255]);
    let mut bytes = transport(random, frame.ttl(hops), family).bytes();
    spoil(random, &mut bytes);
    (number, sent, bytes)
}

fn transport(random: &mut Random, mut frame: Frame, family: usize) -> Frame {
    if family == 1 && random.chance(6) {
        frame = frame.extension(random.pick(&[0, 60, 43]), &[0; 6]);
    }
    let ports = [80, 53, 36412, 8192, 8200, 40_000, 40_001, 67];
    let (from, to) = (random.pick(&ports), random.pick(&ports));
    let frame = match random.below(10) {
        0..=4 => {
            let flags = random.pick(&[2, 18, 16, 17, 4, 20, 24, 0, 3]);
            let seq = random.pick(&[0, 1, 2, 1000, 70_000, u32::MAX]);
            frame.tcp_segment(from, to, flags, seq, random.pick(&[0, 1, 2, 1000]))
        }
        5 | 6 => frame.udp(from, to),
        7 => frame.sctp_init(from, to),
        8 => frame.echo_request(random.pick(&[1, 2]), 1),
        _ => frame.echo_reply(random.pick(&[1, 2]), 1),
    };
    let size = random.below(40);
    frame.payload(&vec![7; size])
}

/// Sometimes cuts the frame short or changes a byte.
fn spoil(random: &mut Random, bytes: &mut Vec<u8>) {
    if random.chance(10) {
        let at = random.below(bytes.len().min(70));
        bytes[at] = random.below(256) as u8;
    }
    if random.chance(15) {
        bytes.truncate(20 + random.below(bytes.len() - 20));
    }
}
