//! The order of job listings, as keys that sort byte by byte.
//!
//! Jobs without the value come last in either direction; ties go by job id.

use crate::{
    domain::{ids::JobId, job::Job},
    limits,
    slot::{SlotGrid, TimeMs},
    state::Rejection,
};

/// The order of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    by: By,
    descending: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    CreateTime,
    UpdateTime,
    StartTime,
    FinishDeadline,
    Name,
    Priority,
}

impl Order {
    /// Reads `order_by`; empty means by creation.
    ///
    /// # Errors
    /// When it is not one of the orders.
    pub(super) fn parse(text: &str) -> Result<Self, Rejection> {
        let mut words = text.split_whitespace();
        let by = match words.next() {
            None | Some("create_time") => Some(By::CreateTime),
            Some("update_time") => Some(By::UpdateTime),
            Some("start_time") => Some(By::StartTime),
            Some("finish_deadline") => Some(By::FinishDeadline),
            Some("name") => Some(By::Name),
            Some("priority") => Some(By::Priority),
            Some(_) => None,
        };
        let descending = match words.next() {
            None => Some(false),
            Some("desc") => Some(true),
            Some(_) => None,
        };
        let order = by.zip(descending).filter(|_| words.next().is_none());
        let (by, descending) = order.ok_or_else(|| {
            Rejection::field(
                "order_by",
                "is one of create_time, update_time, start_time, finish_deadline, name, priority; with ` desc` for descending",
            )
        })?;
        Ok(Self { by, descending })
    }

    /// The key of a job.
    pub(super) fn key(&self, job: &Job, grid: SlotGrid) -> Vec<u8> {
        let mut key = match self.by {
            By::CreateTime => self.time_key(Some(job.created_at)),
            By::UpdateTime => self.time_key(Some(job.updated_at)),
            By::StartTime => {
                let plan = job.placement();
                self.time_key(plan.map(|plan| grid.start_of(plan.start())))
            }
            By::FinishDeadline => self.time_key(Some(job.end_by)),
            By::Name => self.name_key(&job.spec.name),
            By::Priority => self.number_key(job.spec.priority),
        };
        let JobId(id) = job.id;
        key.extend_from_slice(&id.to_be_bytes());
        key
    }

    fn time_key(&self, time: Option<TimeMs>) -> Vec<u8> {
        let Some(time) = time else {
            return vec![0xff; 8];
        };
        // Times are not negative, so that the complement of one never is the key of a missing one.
        let ms = u64::try_from(time.0).unwrap_or(0);
        let sorted = if self.descending { !ms - 1 } else { ms };
        sorted.to_be_bytes().to_vec()
    }

    fn number_key(&self, number: u32) -> Vec<u8> {
        let sorted = if self.descending { !number } else { number };
        sorted.to_be_bytes().to_vec()
    }

    /// Padded to the same length, so that the complement sorts the other way round.
    fn name_key(&self, name: &str) -> Vec<u8> {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(limits::NAME_BYTES_MAX, 0);
        if self.descending {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing;

    fn order_of(order_by: &str) -> Vec<u128> {
        let grid = SlotGrid::new(900).unwrap();
        let order = Order::parse(order_by).unwrap();
        let mut jobs = [
            testing::job(1, "b").created(30).placed("s-a", 5, 6),
            testing::job(2, "a").created(10).served(1),
            testing::job(3, "ab")
                .created(20)
                .served(10)
                .placed("s-a", 2, 9),
            testing::job(4, "a").created(10),
        ]
        .map(|builder| builder.build());
        jobs.sort_by_key(|job| order.key(job, grid));
        jobs.iter().map(|job| job.id.0).collect()
    }

    #[test]
    fn ties_go_by_id_and_missing_values_come_last() {
        let cases: [(&str, [u128; 4]); 9] = [
            ("", [2, 4, 3, 1]),
            ("create_time", [2, 4, 3, 1]),
            ("create_time desc", [1, 3, 2, 4]),
            ("start_time", [3, 1, 2, 4]),
            (" start_time  desc ", [1, 3, 2, 4]),
            ("name", [2, 4, 3, 1]),
            ("name desc", [1, 3, 2, 4]),
            ("priority", [2, 1, 4, 3]),
            ("priority desc", [3, 1, 4, 2]),
        ];
        for (order_by, expected) in cases {
            assert_eq!(order_of(order_by), expected, "{order_by:?}");
        }
    }

    #[test]
    fn other_orders_are_refused() {
        for text in [
            "id",
            "name asc",
            "name desc desc",
            "name,create_time",
            "DESC",
            "desc",
        ] {
            assert!(Order::parse(text).is_err(), "{text:?}");
        }
    }
}
