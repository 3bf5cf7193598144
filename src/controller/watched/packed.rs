//! JSON that is kept for long and seldom read.

use lz4_flex::block::{compress_with_dict, decompress_with_dict};

/// JSON, compressed. What all of a kind have in common, such as the names of their fields, takes no room: it stands in one
/// text that such JSON is `like`, which has to be the same when it is opened.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    size: u32,
    bytes: Box<[u8]>,
}

impl Packed {
    /// Packs it.
    pub(super) fn new(json: &[u8], like: &str) -> Self {
        Self {
            size: u32::try_from(json.len()).unwrap_or_default(),
            bytes: compress_with_dict(json, like.as_bytes()).into_boxed_slice(),
        }
    }

    /// As it was. What was packed can be opened; anything else would be nothing, which is no JSON.
    pub(super) fn open(&self, like: &str) -> Vec<u8> {
        decompress_with_dict(&self.bytes, self.size as usize, like.as_bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_opened_is_what_was_packed() {
        let like = r#"{"first":"","second":""}"#;
        for json in ["", "{}", like, &format!(r#"{{"first":"{}","second":"x"}}"#, "a".repeat(200_000))] {
            assert_eq!(Packed::new(json.as_bytes(), like).open(like), json.as_bytes());
        }
    }

    #[test]
    fn what_it_is_like_takes_no_room() {
        let like = r#"{"lastTransitionTime":"2026-01-01T00:00:00Z","observedGeneration":1}"#;
        let json = like.replace("01-01", "02-03");
        let (alone, packed) = (Packed::new(json.as_bytes(), ""), Packed::new(json.as_bytes(), like));
        assert!(packed.bytes.len() * 2 < alone.bytes.len(), "{} of {}", packed.bytes.len(), alone.bytes.len());
    }
}
