//! Links: the bandwidth of gateways, and the transfers that bring a job's input in over them.
//!
//! A transfer takes the same bandwidth in every slot of its range, and its range holds all the bits of the input.

use crate::{
    domain::{
        ids::{GatewayId, Revision, SiteId},
        latency::NetworkPath,
        site::Site,
        violation::{Violation, Violations},
    },
    limits,
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
};

/// What a gateway carries: shared by all sites whose leased lines leave through it.
///
/// A gateway without a link carries whatever is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The gateway.
    pub gateway: GatewayId,
    /// Bandwidth for transfers of input in every slot, bits per second.
    pub bandwidth_bits_per_second: u64,
    /// When it last changed.
    pub updated_at: TimeMs,
    /// Revision of its last change: its etag.
    pub revision: Revision,
}

/// Input that has to be at the site before the first run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staging {
    /// Size of the input, bytes; at least 1.
    pub input_bytes: u64,
    /// How fast it may be sent, bits per second; `None` means [`limits::STAGING_BITS_PER_SECOND_DEFAULT`].
    pub max_bits_per_second: Option<u64>,
}

/// A transfer of a job's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageIn {
    /// The site it goes to.
    pub site: SiteId,
    /// The gateway whose link it crosses; `None` over the internet and to a site without a gateway.
    pub link: Option<GatewayId>,
    /// Consecutive slots it takes; at least one.
    pub slots: SlotRange,
    /// Bandwidth it takes in each, bits per second.
    pub bits_per_second: u64,
}

/// The gateway whose link a job's input crosses on its way to a site: that of the site over a leased line, none over
/// the internet.
#[must_use]
pub fn crossing(site: &Site, path: NetworkPath) -> Option<&GatewayId> {
    match path {
        NetworkPath::Leased => site.gateway.as_ref(),
        NetworkPath::Internet => None,
    }
}

impl Link {
    /// Everything that is wrong with the link, by field of the API's `Link`.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::new();
        found.check(
            (1..=limits::LINK_BITS_PER_SECOND_MAX).contains(&self.bandwidth_bits_per_second),
            "bandwidth_bits_per_second",
            || {
                format!(
                    "is between 1 and {} bits per second",
                    limits::LINK_BITS_PER_SECOND_MAX
                )
            },
        );
        found.into_vec()
    }
}

impl Staging {
    /// Bandwidth that a transfer takes on a link of this bandwidth, bits per second: what the job may send at, or the
    /// whole link where that is less.
    #[must_use]
    pub fn bits_per_second(&self, link_bits_per_second: Option<u64>) -> u64 {
        self.max_bits_per_second
            .unwrap_or(limits::STAGING_BITS_PER_SECOND_DEFAULT)
            .min(link_bits_per_second.unwrap_or(u64::MAX))
            .max(1)
    }

    /// Whole slots that a transfer takes at this bandwidth.
    ///
    /// ```
    /// use lancang::{domain::link::Staging, slot::SlotGrid};
    /// let staging = Staging { input_bytes: 112_500_000_001, max_bits_per_second: None };
    /// // 1 Gbit/s carries 112.5 GB in a quarter of an hour; the last byte takes another slot.
    /// assert_eq!(staging.slots(1_000_000_000, SlotGrid::new(900).unwrap()), 2);
    /// ```
    #[must_use]
    pub fn slots(&self, bits_per_second: u64, grid: SlotGrid) -> u32 {
        let per_slot = u128::from(bits_per_second.max(1)) * u128::from(grid.slot_seconds());
        u32::try_from(self.bits().div_ceil(per_slot)).unwrap_or(u32::MAX)
    }

    /// Size of the input, bits.
    #[must_use]
    pub fn bits(&self) -> u128 {
        u128::from(self.input_bytes) * 8
    }

    /// Everything that is wrong with it for a job that runs for so many slots at least, by field of the API's `Staging`.
    #[must_use]
    pub fn violations(
        &self,
        least_slots: u32,
        grid: SlotGrid,
        horizon_slots: u32,
    ) -> Vec<Violation> {
        let mut found = Violations::new();
        found.check(
            (1..=limits::INPUT_BYTES_MAX).contains(&self.input_bytes),
            "input_bytes",
            || {
                format!(
                    "is between 1 and {} bytes; leave staging unset for a job without input",
                    limits::INPUT_BYTES_MAX
                )
            },
        );
        if let Some(rate) = self.max_bits_per_second {
            found.check(
                (1..=limits::STAGING_BITS_PER_SECOND_MAX).contains(&rate),
                "max_bits_per_second",
                || {
                    format!(
                        "is at most {} bits per second",
                        limits::STAGING_BITS_PER_SECOND_MAX
                    )
                },
            );
        }
        if found.is_empty() {
            let rate = self.bits_per_second(None);
            let needed = self.slots(rate, grid).saturating_add(least_slots);
            found.check(needed <= horizon_slots, "input_bytes", || {
                format!(
                    "takes so long at {rate} bits per second that the job never ends within the horizon; \
                     raise max_bits_per_second"
                )
            });
        }
        found.into_vec()
    }
}

impl StageIn {
    /// Whether it has begun by the time this slot passes: then its past part cannot be undone.
    #[must_use]
    pub fn has_begun(&self, current: Slot) -> bool {
        self.slots.start <= current
    }

    /// Whether it is over when this slot begins.
    #[must_use]
    pub fn is_done(&self, current: Slot) -> bool {
        self.slots.end <= current
    }

    /// Whether, once begun, it serves a job at this site as well, whose input would cross `crossing`: at the same site,
    /// and behind the same gateway, where data need not cross the link again.
    #[must_use]
    pub fn serves(&self, site: &SiteId, crossing: Option<&GatewayId>) -> bool {
        self.site == *site || (self.link.is_some() && self.link.as_ref() == crossing)
    }

    /// Bits that it can carry.
    #[must_use]
    pub fn bits(&self, grid: SlotGrid) -> u128 {
        u128::from(self.slots.len())
            * u128::from(grid.slot_seconds())
            * u128::from(self.bits_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staging(input_bytes: u64, max_bits_per_second: Option<u64>) -> Staging {
        Staging {
            input_bytes,
            max_bits_per_second,
        }
    }

    #[test]
    fn a_transfer_goes_at_the_least_of_what_job_and_link_allow() {
        let cases = [
            (None, None, limits::STAGING_BITS_PER_SECOND_DEFAULT),
            (Some(5), None, 5),
            (Some(5), Some(7), 5),
            (Some(7), Some(5), 5),
            (None, Some(3), 3),
        ];
        for (job, link, expected) in cases {
            let rate = staging(1, job).bits_per_second(link);
            assert_eq!(rate, expected, "{job:?} over {link:?}");
        }
    }

    #[test]
    fn the_last_bit_takes_a_whole_slot() {
        let grid = SlotGrid::new(900).unwrap();
        // 8 bit/s carry 900 bytes in a slot.
        for (bytes, slots) in [(1, 1), (899, 1), (900, 1), (901, 2), (9_000, 10)] {
            assert_eq!(staging(bytes, None).slots(8, grid), slots, "{bytes}");
        }
        assert_eq!(staging(u64::MAX, None).slots(1, grid), u32::MAX);
    }

    #[test]
    fn sizes_and_rates_are_refused_beyond_their_bounds_only() {
        let grid = SlotGrid::new(900).unwrap();
        let fields = |staging: Staging, horizon_slots| -> Vec<String> {
            let found = staging.violations(4, grid, horizon_slots);
            found.into_iter().map(|violation| violation.field).collect()
        };
        let top = limits::STAGING_BITS_PER_SECOND_MAX;
        assert_eq!(fields(staging(1, Some(1)), 5), [""; 0]);
        assert_eq!(
            fields(staging(limits::INPUT_BYTES_MAX, Some(top)), 8_928),
            [""; 0]
        );
        let both = staging(limits::INPUT_BYTES_MAX + 1, Some(top + 1));
        assert_eq!(fields(both, 8_928), ["input_bytes", "max_bits_per_second"]);
        assert_eq!(
            fields(staging(0, Some(0)), 8_928),
            ["input_bytes", "max_bits_per_second"]
        );
        // Four slots of runs and one of transfer fill five.
        assert_eq!(fields(staging(900, Some(8)), 5), [""; 0]);
        assert_eq!(fields(staging(901, Some(8)), 5), ["input_bytes"]);
    }
}
