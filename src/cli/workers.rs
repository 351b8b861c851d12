//! Threads for work that is cut into parts.
//!
//! Threads are joined before a call returns; what the parts come to does not depend on how many there are.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    thread,
};

/// Works off every part, on up to so many threads.
pub(crate) fn each<T: Send>(
    n_threads: NonZeroUsize,
    parts: &mut [T],
    work: impl Fn(&mut T) + Sync,
) {
    if n_threads.get() == 1 || parts.len() < 2 {
        parts.iter_mut().for_each(work);
        return;
    }
    let n_threads = n_threads.get().min(parts.len());
    let queue = Mutex::new(parts.iter_mut());
    let worker = || {
        loop {
            // A panic elsewhere ends the scope below with the same panic.
            let part = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(part) = part else { break };
            work(part);
        }
    };
    thread::scope(|scope| {
        for _ in 1..n_threads {
            scope.spawn(worker);
        }
        worker();
    });
}

/// One thread a core.
pub(crate) fn all() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_worked_off_once() {
        for n_threads in [1, 2, 3, 8] {
            let mut parts: Vec<u32> = (0..5).collect();
            each(NonZeroUsize::new(n_threads).unwrap(), &mut parts, |part| {
                *part += 10;
            });
            assert_eq!(parts, [10, 11, 12, 13, 14], "{n_threads} threads");
        }
    }
}
