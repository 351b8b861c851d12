//! What was written reads back; what was damaged never does harm.

use proptest::prelude::*;

use super::*;
use crate::state::testing::{self, arbitrary};

proptest! {
    #![proptest_config(testing::cases(64))]

    #[test]
    fn a_record_reads_back_equal(record in arbitrary::record()) {
        let bytes = encode_record(&record);
        let shared = decode_record_with(&bytes, &mut Interner::new());
        prop_assert_eq!(shared.as_ref(), Ok(&record));
        prop_assert_eq!(decode_record(&bytes), Ok(record));
    }

    #[test]
    fn a_record_that_was_cut_off_never_reads_as_the_whole(
        record in arbitrary::record(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 20),
    ) {
        let bytes = encode_record(&record);
        for cut in cuts {
            let cut = cut.index(bytes.len());
            let read = decode_record(&bytes[..cut]);
            prop_assert_ne!(read.as_ref(), Ok(&record));
        }
    }

    #[test]
    fn a_damaged_record_never_panics(
        record in arbitrary::record(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 20),
    ) {
        let bytes = encode_record(&record);
        let mut all = bytes.clone();
        for (at, flip) in flips {
            let mut one = bytes.clone();
            let at = at.index(one.len());
            one[at] ^= flip;
            all[at] ^= flip;
            let _ = decode_record(&one);
            let _ = decode_record(&all);
        }
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_record(&noise);
    }
}
