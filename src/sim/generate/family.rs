//! The families of instances and in what they differ.
//!
//! Figures are fractions measured on the published instances of the bench, as far as there are any.

use std::fmt;

/// A family of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Dry season: hydro, wind and solar, jobs of all classes.
    DryMix,
    /// Dry season, rigid jobs only.
    DryRigid,
    /// Wet season: much steady hydro power.
    WetMix,
    /// Sites of very different size, users who need a near one.
    Geo,
    /// Power almost only by day.
    Solar,
    /// Little time to spare.
    Tight,
    /// Sites nearly full.
    Hot,
    /// Everybody could wait for noon.
    Stampede,
    /// Jobs of very many nodes.
    Big,
    /// Grid energy counts by its carbon.
    Carbon,
}

impl Family {
    /// All, in the order of the bench.
    pub const ALL: [Self; 10] = [
        Self::DryMix,
        Self::DryRigid,
        Self::WetMix,
        Self::Geo,
        Self::Solar,
        Self::Tight,
        Self::Hot,
        Self::Stampede,
        Self::Big,
        Self::Carbon,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DryMix => "dry-mix",
            Self::DryRigid => "dry-rigid",
            Self::WetMix => "wet-mix",
            Self::Geo => "geo",
            Self::Solar => "solar",
            Self::Tight => "tight",
            Self::Hot => "hot",
            Self::Stampede => "stampede",
            Self::Big => "big",
            Self::Carbon => "carbon",
        }
    }

    pub(super) fn traits(self) -> Traits {
        let dry = Traits {
            malleable: 0.12,
            interruptible: 0.28,
            slack: [0.3, 0.4, 0.3],
            reach: [0.4, 0.4, 0.2],
            load: 0.65,
            green: 1.0492,
            skew: 0.6,
            nodes: 1.0,
            steady: [0.88, 0.752, 0.514],
            carbon: false,
        };
        match self {
            Self::DryMix => dry,
            Self::DryRigid => Traits {
                malleable: 0.0,
                interruptible: 0.0,
                ..dry
            },
            Self::WetMix => Traits {
                green: 1.574,
                steady: [0.96, 0.88, 0.75],
                ..dry
            },
            Self::Geo => Traits {
                reach: [0.25, 0.4, 0.35],
                green: 1.1804,
                skew: 0.9,
                ..dry
            },
            Self::Solar => Traits {
                steady: [0.371, 0.23, 0.095],
                ..dry
            },
            Self::Tight => Traits {
                slack: [0.6, 0.28, 0.12],
                ..dry
            },
            Self::Hot => Traits { load: 0.95, ..dry },
            Self::Stampede => Traits {
                slack: [0.05, 0.15, 0.8],
                load: 0.5,
                green: 1.1804,
                steady: [0.71, 0.6, 0.48],
                ..dry
            },
            Self::Big => Traits { nodes: 4.0, ..dry },
            Self::Carbon => Traits {
                carbon: true,
                ..dry
            },
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// In what a family differs; fractions of 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traits {
    /// Jobs that are malleable, if long enough.
    pub(super) malleable: f64,
    /// Jobs that are interruptible, if long enough.
    pub(super) interruptible: f64,
    /// Jobs with little, some and much time to spare.
    pub(super) slack: [f64; 3],
    /// Jobs that may run anywhere, at half of the sites, at the nearest only.
    pub(super) reach: [f64; 3],
    /// Mean use of the sites.
    pub(super) load: f64,
    /// Green energy for each unit of IT energy.
    pub(super) green: f64,
    /// Spread of the logarithm of the sites' sizes.
    pub(super) skew: f64,
    /// Nodes of the largest jobs against what the families have in common.
    pub(super) nodes: f64,
    /// Part of the green energy that also comes by night, at sites with hydro, with wind, and with much sun.
    pub(super) steady: [f64; 3],
    /// Whether grid energy has the weight of its carbon.
    pub(super) carbon: bool,
}
