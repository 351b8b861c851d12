//! Sites: pools of nodes, a power cap, green supplies, and where they stand.
//!
//! A site whose [`Site::violations`] are empty can be planned on without further checks.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    domain::{
        ids::{GatewayId, PoolId, Revision, SiteId, SupplyId},
        restriction::Restrictions,
        violation::{Violation, Violations},
    },
    limits,
    slot::TimeMs,
};

/// A data center.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Id.
    pub id: SiteId,
    /// Name for people.
    pub display_name: Arc<str>,
    /// Jurisdiction.
    pub country: Country,
    /// Latitude in millionths of a degree.
    pub latitude_microdegrees: i32,
    /// Longitude in millionths of a degree.
    pub longitude_microdegrees: i32,
    /// Civil time minus UTC in minutes.
    pub utc_offset_minutes: i32,
    /// Homogeneous sets of nodes.
    pub pools: Vec<Pool>,
    /// Facility power allowed now, watts.
    pub power_cap_watts: u64,
    /// What the grid connection carries, watts.
    pub grid_limit_watts: u64,
    /// Power usage effectiveness in thousandths.
    pub pue_permille: u32,
    /// Green supplies.
    pub supplies: Vec<Supply>,
    /// Gateway of the leased lines.
    pub gateway: Option<GatewayId>,
    /// Whether foreign data may be processed apart from the domestic domain.
    pub offshore_enclave: bool,
    /// Average carbon intensity of the grid, mg/kWh.
    pub grid_location_mg_per_kwh: u32,
    /// Marginal carbon intensity of the grid by month, mg/kWh; 12 values or none.
    pub grid_marginal_mg_per_kwh: Vec<u32>,
    /// Price of grid energy.
    pub tariff: Vec<TariffPeriod>,
    /// Water used at the site for each kWh, millilitres.
    pub water_ml_per_kwh: u32,
    /// Set while the site takes no new work.
    pub cordon: Option<Cordon>,
    /// What operators restrict for a time.
    pub restrictions: Restrictions,
    /// When it was created.
    pub created_at: TimeMs,
    /// When it last changed.
    pub updated_at: TimeMs,
    /// Revision of its last change: its etag.
    pub revision: Revision,
}

/// Nodes that are all alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Id within the site.
    pub id: PoolId,
    /// Number of nodes.
    pub nodes: u32,
    /// Cores of a node.
    pub cpu_cores_per_node: u32,
    /// Memory of a node, MiB.
    pub memory_mib_per_node: u64,
    /// GPUs of a node.
    pub gpus_per_node: u32,
    /// Model of the GPUs; `None` when there are none.
    pub gpu_model: Option<Arc<str>>,
    /// Whether domestic data never shares the nodes.
    pub no_domestic_mix: bool,
    /// Whether memory is encrypted in use.
    pub encrypted_in_use: bool,
}

/// Amounts of what a pool has and a job takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// CPU cores.
    pub cpu_cores: u64,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// GPUs.
    pub gpus: u64,
}

/// Kind of a supply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SupplyKind {
    /// Hydro power.
    Hydro,
    /// Photovoltaic power.
    Solar,
    /// Wind power.
    Wind,
}

/// A contract for green energy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supply {
    /// Id.
    pub id: SupplyId,
    /// Kind.
    pub kind: SupplyKind,
    /// Contracted power, watts.
    pub nameplate_watts: u64,
    /// Capacity factor by month, thousandths.
    pub monthly_capacity_permille: [u16; 12],
    /// Life-cycle carbon intensity, mg/kWh.
    pub carbon_mg_per_kwh: u32,
    /// Contract price, micro-CNY/kWh.
    pub price_micro_cny_per_kwh: u64,
}

/// A price that holds at some hours of some months.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TariffPeriod {
    /// Months 1 to 12; empty means all.
    pub months: Vec<u8>,
    /// First minute of the civil day.
    pub start_minute: u16,
    /// Minute after the last.
    pub end_minute: u16,
    /// Price, micro-CNY/kWh.
    pub price_micro_cny_per_kwh: u64,
}

/// Why and since when a site takes no new work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cordon {
    /// As the operator said.
    pub reason: Arc<str>,
    /// Since when.
    pub since: TimeMs,
}

/// A country: ISO 3166-1 alpha-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// China.
    pub const CN: Self = Self(*b"CN");

    /// Reads two upper-case letters; `None` for anything else, subdivisions included.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 2] = text.as_bytes().try_into().ok()?;
        bytes
            .iter()
            .all(u8::is_ascii_uppercase)
            .then_some(Self(bytes))
    }

    /// The two letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl SupplyKind {
    /// All kinds, in the order of the energy mix.
    pub const ALL: [Self; 3] = [Self::Hydro, Self::Solar, Self::Wind];

    /// Position in the energy mix.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Hydro => 0,
            Self::Solar => 1,
            Self::Wind => 2,
        }
    }
}

impl Pool {
    /// What the whole pool has.
    #[must_use]
    pub fn capacity(&self) -> Amounts {
        let nodes = u64::from(self.nodes);
        Amounts {
            cpu_cores: nodes * u64::from(self.cpu_cores_per_node),
            memory_mib: nodes * self.memory_mib_per_node,
            gpus: nodes * u64::from(self.gpus_per_node),
        }
    }

    /// What one node has.
    #[must_use]
    pub fn node(&self) -> Amounts {
        Amounts {
            cpu_cores: u64::from(self.cpu_cores_per_node),
            memory_mib: self.memory_mib_per_node,
            gpus: u64::from(self.gpus_per_node),
        }
    }
}

impl Amounts {
    /// Whether `self` is enough for `need` in every kind.
    #[must_use]
    pub fn cover(&self, need: &Self) -> bool {
        need.cpu_cores <= self.cpu_cores
            && need.memory_mib <= self.memory_mib
            && need.gpus <= self.gpus
    }

    /// `count` times as much; saturates, and what saturates fits nowhere.
    #[must_use]
    pub fn times(&self, count: u32) -> Self {
        let count = u64::from(count);
        Self {
            cpu_cores: self.cpu_cores.saturating_mul(count),
            memory_mib: self.memory_mib.saturating_mul(count),
            gpus: self.gpus.saturating_mul(count),
        }
    }
}

impl Site {
    /// The pool with this id, with its position.
    #[must_use]
    pub fn pool(&self, id: &PoolId) -> Option<(usize, &Pool)> {
        self.pools
            .iter()
            .enumerate()
            .find(|(_, pool)| pool.id == *id)
    }

    /// Everything that is wrong with the description of the site, by field of the API's `Site`.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::new();
        self.check_place(&mut found);
        self.check_power(&mut found);
        self.check_pools(&mut found);
        self.check_supplies(&mut found);
        check_tariff(&self.tariff, &mut found);
        found.into_vec()
    }

    fn check_place(&self, found: &mut Violations) {
        found.check(
            self.display_name.len() <= limits::DISPLAY_NAME_BYTES_MAX
                && !self.display_name.chars().any(char::is_control),
            "display_name",
            || {
                format!(
                    "has at most {} bytes and no control characters",
                    limits::DISPLAY_NAME_BYTES_MAX
                )
            },
        );
        found.check(
            self.latitude_microdegrees.unsigned_abs() <= 90_000_000,
            "latitude_microdegrees",
            || "is between -90000000 and 90000000".into(),
        );
        found.check(
            self.longitude_microdegrees.unsigned_abs() <= 180_000_000,
            "longitude_microdegrees",
            || "is between -180000000 and 180000000".into(),
        );
        found.check(
            (-840..=840).contains(&self.utc_offset_minutes),
            "utc_offset_minutes",
            || "is between -840 and 840".into(),
        );
    }

    fn check_power(&self, found: &mut Violations) {
        found.check(
            (1..=limits::SITE_POWER_WATTS_MAX).contains(&self.grid_limit_watts),
            "grid_limit_watts",
            || format!("is between 1 and {}", limits::SITE_POWER_WATTS_MAX),
        );
        found.check(
            self.power_cap_watts <= self.grid_limit_watts,
            "power_cap_watts",
            || format!("is at most grid_limit_watts ({})", self.grid_limit_watts),
        );
        found.check(
            limits::PUE_PERMILLE.contains(&self.pue_permille),
            "pue_permille",
            || {
                format!(
                    "is between {} and {} (1250 means a PUE of 1.25)",
                    limits::PUE_PERMILLE.start(),
                    limits::PUE_PERMILLE.end()
                )
            },
        );
        found.check(
            self.grid_location_mg_per_kwh <= limits::CARBON_MG_PER_KWH_MAX,
            "grid_location_mg_per_kwh",
            || format!("is at most {} mg/kWh", limits::CARBON_MG_PER_KWH_MAX),
        );
        found.check(
            self.water_ml_per_kwh <= limits::WATER_ML_PER_KWH_MAX,
            "water_ml_per_kwh",
            || format!("is at most {} ml/kWh", limits::WATER_ML_PER_KWH_MAX),
        );
        found.check(
            matches!(self.grid_marginal_mg_per_kwh.len(), 0 | 12)
                && self
                    .grid_marginal_mg_per_kwh
                    .iter()
                    .all(|&value| value <= limits::CARBON_MG_PER_KWH_MAX),
            "grid_marginal_mg_per_kwh",
            || {
                format!(
                    "has 12 values of at most {} mg/kWh, or none",
                    limits::CARBON_MG_PER_KWH_MAX
                )
            },
        );
    }

    fn check_pools(&self, found: &mut Violations) {
        found.check(
            (1..=limits::POOLS_MAX).contains(&self.pools.len()),
            "pools",
            || format!("has 1 to {} entries", limits::POOLS_MAX),
        );
        let mut seen = BTreeSet::new();
        for (i, pool) in self.pools.iter().enumerate() {
            let field = |name: &str| format!("pools[{i}].{name}");
            found.check(seen.insert(&pool.id), &field("pool_id"), || {
                format!("`{}` stands twice", pool.id)
            });
            found.check(
                (1..=limits::POOL_NODES_MAX).contains(&pool.nodes),
                &field("nodes"),
                || format!("is between 1 and {}", limits::POOL_NODES_MAX),
            );
            found.check(
                (1..=limits::NODE_CORES_MAX).contains(&pool.cpu_cores_per_node),
                &field("cpu_cores_per_node"),
                || format!("is between 1 and {}", limits::NODE_CORES_MAX),
            );
            found.check(
                (1..=limits::NODE_MEMORY_MIB_MAX).contains(&pool.memory_mib_per_node),
                &field("memory_mib_per_node"),
                || format!("is between 1 and {} MiB", limits::NODE_MEMORY_MIB_MAX),
            );
            found.check(
                pool.gpus_per_node <= limits::NODE_GPUS_MAX,
                &field("gpus_per_node"),
                || format!("is at most {}", limits::NODE_GPUS_MAX),
            );
            found.check(
                pool.gpu_model.is_some() == (pool.gpus_per_node > 0),
                &field("gpu_model"),
                || "is set exactly when gpus_per_node is above 0".into(),
            );
        }
    }

    fn check_supplies(&self, found: &mut Violations) {
        found.check(
            self.supplies.len() <= limits::SUPPLIES_MAX,
            "supplies",
            || format!("has at most {} entries", limits::SUPPLIES_MAX),
        );
        let mut seen = BTreeSet::new();
        for (i, supply) in self.supplies.iter().enumerate() {
            let field = |name: &str| format!("supplies[{i}].{name}");
            found.check(seen.insert(&supply.id), &field("supply_id"), || {
                format!("`{}` stands twice", supply.id)
            });
            found.check(
                supply.id.site_part() == self.id.as_str(),
                &field("supply_id"),
                || format!("begins with the id of its site: `{}/<name>`", self.id),
            );
            found.check(
                (1..=limits::SITE_POWER_WATTS_MAX).contains(&supply.nameplate_watts),
                &field("nameplate_watts"),
                || format!("is between 1 and {}", limits::SITE_POWER_WATTS_MAX),
            );
            found.check(
                supply
                    .monthly_capacity_permille
                    .iter()
                    .all(|&value| value <= 1_000),
                &field("monthly_capacity_permille"),
                || "has 12 values of at most 1000".into(),
            );
            found.check(
                supply.carbon_mg_per_kwh <= limits::CARBON_MG_PER_KWH_MAX,
                &field("carbon_mg_per_kwh"),
                || format!("is at most {} mg/kWh", limits::CARBON_MG_PER_KWH_MAX),
            );
            found.check(
                supply.price_micro_cny_per_kwh <= limits::PRICE_MICRO_CNY_PER_KWH_MAX,
                &field("price_micro_cny_per_kwh"),
                || {
                    format!(
                        "is at most {} micro-CNY/kWh",
                        limits::PRICE_MICRO_CNY_PER_KWH_MAX
                    )
                },
            );
        }
    }
}

/// A tariff prices every minute of every month exactly once, or is empty.
fn check_tariff(tariff: &[TariffPeriod], found: &mut Violations) {
    if tariff.len() > limits::TARIFF_PERIODS_MAX {
        let max = limits::TARIFF_PERIODS_MAX;
        found.add("tariff", format!("has at most {max} entries"));
        return;
    }
    let mut well_formed = true;
    for (i, period) in tariff.iter().enumerate() {
        let minutes_ok = period.start_minute < period.end_minute && period.end_minute <= 1_440;
        let months_ok = period.months.iter().all(|month| (1..=12).contains(month));
        well_formed &= minutes_ok && months_ok;
        found.check(minutes_ok, &format!("tariff[{i}].end_minute"), || {
            "is after start_minute and at most 1440".into()
        });
        found.check(months_ok, &format!("tariff[{i}].months"), || {
            "has values between 1 and 12".into()
        });
        found.check(
            period.price_micro_cny_per_kwh <= limits::PRICE_MICRO_CNY_PER_KWH_MAX,
            &format!("tariff[{i}].price_micro_cny_per_kwh"),
            || {
                format!(
                    "is at most {} micro-CNY/kWh",
                    limits::PRICE_MICRO_CNY_PER_KWH_MAX
                )
            },
        );
    }
    if !well_formed || tariff.is_empty() {
        return;
    }
    for month in 1..=12_u8 {
        let mut spans: Vec<(u16, u16)> = tariff
            .iter()
            .filter(|period| period.months.is_empty() || period.months.contains(&month))
            .map(|period| (period.start_minute, period.end_minute))
            .collect();
        spans.sort_unstable();
        let mut covered = 0;
        for (start, end) in spans {
            if start != covered {
                break;
            }
            covered = end;
        }
        if covered != 1_440 {
            found.add(
                "tariff",
                format!("prices every minute of every month exactly once; month {month} breaks at minute {covered}"),
            );
            return;
        }
    }
}
