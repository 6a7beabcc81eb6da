//! Numbers of a fixed width, big-endian: what marks, values and small records are made of.

/// A number that is laid out in its own width, big-endian.
pub trait Fixed: Sized {
    /// Takes the number from the front of `bytes`; `None` when they are too few.
    fn take(bytes: &mut &[u8]) -> Option<Self>;
}

macro_rules! fixed {
    ($($number:ty)+) => {$(
        impl Fixed for $number {
            fn take(bytes: &mut &[u8]) -> Option<Self> {
                let (head, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(Self::from_be_bytes(*head))
            }
        }
    )+};
}

fixed!(i32 u32 i64 u64 u128);

/// Reads a record to its last byte; `None` when `read` finds none, or leaves something over.
pub fn whole<T>(bytes: &[u8], read: impl FnOnce(&mut &[u8]) -> Option<T>) -> Option<T> {
    let mut rest = bytes;
    let record = read(&mut rest)?;
    rest.is_empty().then_some(record)
}

/// Joins parts that are `N` bytes together.
pub fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut bytes = [0; N];
    let mut rest = &mut bytes[..];
    for part in parts {
        if let Some((here, after)) = std::mem::take(&mut rest).split_at_mut_checked(part.len()) {
            here.copy_from_slice(part);
            rest = after;
        }
    }
    bytes
}
