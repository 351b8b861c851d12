//! Which pools of a site can hold a job when nothing else runs there, and in which order they are tried.
//!
//! A job is in one pool and a task on one node, so what a pool holds is counted in whole tasks.

use crate::{
    domain::{
        job::{JobSpec, TaskResources},
        refusal::{Refusal, RefusalReason, RefusalUnit},
        site::{Amounts, Pool, Site},
    },
    limits,
    planner::{
        feasibility::{Ask, Sink},
        site_table::is_special,
    },
};

/// Positions of pools in a stated order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PoolSet {
    pools: [u8; limits::POOLS_MAX],
    len: usize,
}

impl PoolSet {
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.pools[..self.len].iter().map(|&pool| usize::from(pool))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn contains(&self, pool: usize) -> bool {
        self.iter().any(|member| member == pool)
    }

    /// This pool and no other.
    pub(super) fn only(pool: usize) -> Self {
        let mut set = Self::default();
        set.push(pool);
        set
    }

    fn push(&mut self, pool: usize) {
        self.pools[self.len] = u8::try_from(pool).expect("a site has at most POOLS_MAX pools");
        self.len += 1;
    }
}

/// Narrows the pools rule by rule. A rule that no pool keeps is refused and then left out, so that the rules behind
/// it are asked as well.
pub(super) fn check_pools(ask: &Ask<'_>, site: &Site, sink: &mut impl Sink) -> PoolSet {
    let spec = ask.request.spec;
    let encrypted = spec.data_policy.require.encrypted_in_use;
    let mut left: u32 = (1 << site.pools.len()) - 1;
    let members = |set: u32| {
        site.pools
            .iter()
            .enumerate()
            .filter(move |(i, _)| set & (1 << i) != 0)
    };
    let keep = |set: u32, rule: &dyn Fn(&Pool) -> bool| {
        members(set)
            .filter(|(_, pool)| rule(pool))
            .fold(0_u32, |kept, (i, _)| kept | (1 << i))
    };
    let mut narrow =
        |rule: &dyn Fn(&Pool) -> bool, refusal: &dyn Fn(Vec<&Pool>) -> Refusal| match keep(
            left, rule,
        ) {
            0 => sink.refuse(|| refusal(members(left).map(|(_, pool)| pool).collect())),
            kept => left = kept,
        };
    narrow(
        &|pool| !ask.rules.needs_no_mix || pool.no_domestic_mix,
        &|_| {
            Refusal::plain(
                RefusalReason::DomesticMix,
                format!("no pool of {} is kept free of domestic data", site.id),
            )
        },
    );
    narrow(&|pool| !encrypted || pool.encrypted_in_use, &|_| {
        Refusal::plain(
            RefusalReason::EncryptionInUseRequired,
            format!("no suitable pool of {} encrypts memory in use", site.id),
        )
    });
    let model = &spec.task.gpu_model;
    narrow(&|pool| model.is_none() || pool.gpu_model == *model, &|_| {
        Refusal::plain(
            RefusalReason::GpuModelMissing,
            format!(
                "no suitable pool of {} has the GPU model {}; leave task_resources.gpu_model empty for any",
                site.id,
                model.as_deref().unwrap_or_default()
            ),
        )
    });
    let task = spec.task.amounts();
    narrow(&|pool| pool.node().cover(&task), &|pools| {
        task_exceeds_node(site, &task, &pools)
    });
    narrow(
        // A task that fits no node is refused above; how many of it fit says nothing more.
        &|pool| {
            !pool.node().cover(&task) || u64::from(spec.task_count) <= tasks_held(pool, &spec.task)
        },
        &|pools| job_exceeds_pool(site, spec, &pools),
    );
    in_order_of_fit(ask, site, left)
}

/// Pools without traits that the job has no use for come first, then the site's order.
fn in_order_of_fit(ask: &Ask<'_>, site: &Site, members: u32) -> PoolSet {
    let spec = ask.request.spec;
    let needs_special = ask.rules.needs_no_mix || spec.data_policy.require.encrypted_in_use;
    let is_wasted = |pool: &Pool| {
        let gpus = spec.task.gpus == 0 && 0 < pool.gpus_per_node;
        (gpus, !needs_special && is_special(pool))
    };
    let mut ordered = PoolSet::default();
    for rank in [(false, false), (false, true), (true, false), (true, true)] {
        for (i, pool) in site.pools.iter().enumerate() {
            if members & (1 << i) != 0 && is_wasted(pool) == rank {
                ordered.push(i);
            }
        }
    }
    ordered
}

/// Tasks that an idle pool holds at once: a task never spans nodes.
fn tasks_held(pool: &Pool, task: &TaskResources) -> u64 {
    let (node, need) = (pool.node(), task.amounts());
    if !node.cover(&need) {
        return 0;
    }
    let shares = [
        (node.cpu_cores, need.cpu_cores),
        (node.memory_mib, need.memory_mib),
        (node.gpus, need.gpus),
    ];
    let per_node = shares
        .into_iter()
        .filter_map(|(have, need)| have.checked_div(need))
        .min()
        .unwrap_or(1);
    let per_node = if task.exclusive_node { 1 } else { per_node };
    per_node.saturating_mul(pool.nodes.into())
}

/// Units of the job that an idle pool holds at once: blocks of its whole tasks.
pub(super) fn units_held(pool: &Pool, spec: &JobSpec) -> u64 {
    tasks_held(pool, &spec.task) / u64::from(spec.task_count).max(1)
}

fn task_exceeds_node(site: &Site, task: &Amounts, pools: &[&Pool]) -> Refusal {
    let (unit, need, have) = lacking(task, pools.iter().map(|pool| pool.node()));
    Refusal::numbers(
        RefusalReason::TaskExceedsNode,
        unit,
        need,
        have,
        format!(
            "a task needs {need} {} and no node of a suitable pool of {} has more than {have}; use smaller tasks",
            unit.name(),
            site.id
        ),
    )
}

fn job_exceeds_pool(site: &Site, spec: &JobSpec, pools: &[&Pool]) -> Refusal {
    let held = pools
        .iter()
        .map(|pool| tasks_held(pool, &spec.task))
        .max()
        .unwrap_or(0);
    let cores = u64::from(spec.task.cpu_cores);
    Refusal::numbers(
        RefusalReason::JobExceedsPool,
        RefusalUnit::CpuCores,
        u64::from(spec.task_count) * cores,
        held * cores,
        format!(
            "the job has {} tasks and no suitable pool of {} holds more than {held} of them at once; \
             use fewer or smaller tasks",
            spec.task_count, site.id
        ),
    )
}

/// The first kind of which every pool has too little, with what the best has; else what the best fitting lacks.
pub(super) fn lacking(
    need: &Amounts,
    haves: impl Iterator<Item = Amounts>,
) -> (RefusalUnit, u64, u64) {
    let mut most = Amounts::default();
    let mut first = None;
    for have in haves {
        first = first.or(Some(have));
        most = Amounts {
            cpu_cores: most.cpu_cores.max(have.cpu_cores),
            memory_mib: most.memory_mib.max(have.memory_mib),
            gpus: most.gpus.max(have.gpus),
        };
    }
    // When each kind alone would fit somewhere, no pool has all: the first one shows what it lacks.
    let shown = if most.cover(need) {
        first.unwrap_or(most)
    } else {
        most
    };
    let kinds = [
        (RefusalUnit::CpuCores, need.cpu_cores, shown.cpu_cores),
        (RefusalUnit::Mib, need.memory_mib, shown.memory_mib),
        (RefusalUnit::Gpus, need.gpus, shown.gpus),
    ];
    kinds
        .into_iter()
        .find(|(_, need, have)| have < need)
        .unwrap_or(kinds[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::{
        feasibility::{Tally, examine},
        testing::{flat, horizon, job, pool, request, site, timetable, window},
    };

    #[test]
    fn pools_without_needless_traits_come_first() {
        let with_gpus = Pool {
            gpus_per_node: 1,
            gpu_model: Some("a100".into()),
            ..pool("gpu")
        };
        let clean = Pool {
            no_domestic_mix: true,
            ..pool("clean")
        };
        let small = Pool {
            nodes: 1,
            ..pool("small")
        };
        let traits = Site {
            pools: vec![with_gpus, clean, small, pool("plain")],
            ..site("a")
        };
        let timetable = timetable(horizon(4), vec![(traits, flat(horizon(4), 0))]);
        let order = |spec: &JobSpec| -> Vec<usize> {
            let request = request(spec, window(0, 4));
            let work = crate::planner::feasibility::Work::default();
            let ask = Ask::new(&timetable, &request, &work);
            let offer = examine(&timetable.sites[0], 0, &ask, &mut Tally::default()).unwrap();
            offer.pools.iter().collect()
        };
        assert_eq!(order(&job(1)), [2, 3, 1, 0]);
        let mut wide = job(1);
        wide.task_count = 11;
        wide.task.cpu_cores = 10;
        wide.task_count = 10;
        assert_eq!(order(&wide), [3, 1, 0], "the small pool cannot hold it");
        let mut graphic = job(1);
        graphic.task.gpus = 1;
        assert_eq!(order(&graphic), [0]);
        let mut foreign = job(1);
        std::sync::Arc::make_mut(&mut foreign.data_policy)
            .require
            .no_domestic_mix = true;
        assert_eq!(order(&foreign), [1]);
    }
}
