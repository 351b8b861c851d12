//! The process that copies for an attempt which its engine runs elsewhere: its input before it begins, its output once it
//! has succeeded.
//!
//! It never begins anything; it obeys wish and lease as a shim does, and outlives the agent as a shim does.

use std::path::Path;

use rustix::process::{getpid, set_child_subreaper, setsid};

use crate::{
    agent::{
        attempt::StopCause,
        files::FileError,
        local::{
            attempt_dir::{AttemptDir, Wanted},
            kill_orphans,
            staging::Stager,
        },
        spool::read_lease,
    },
    clock::Mono,
};

/// Copies what is to be copied now for the attempt of a directory, unless somebody else does.
///
/// # Errors
/// When the files of the attempt cannot be read or written; the agent then settles it.
pub fn run(path: &Path) -> Result<(), FileError> {
    // Away from the agent's terminal and group: what ends the agent must not end this.
    let _leads_already = setsid();
    let _old_kernel = set_child_subreaper(Some(getpid()));
    let dir = AttemptDir::new(path);
    let Some(_lock) = dir.try_lock_copies()? else {
        return Ok(());
    };
    let plan = dir.plan()?;
    let control = dir.open_control()?;
    // What one that was killed has left would write into the same files.
    if !kill_orphans(&dir)? {
        return Err(FileError::Damaged {
            path: path.to_path_buf(),
            what: "an earlier copy of it does not end".to_owned(),
        });
    }
    let stager = Stager {
        dir: &dir,
        plan: &plan,
        control: &control,
        unwanted: &|| unwanted(&dir),
    };
    if let Some(ran) = dir.ran()? {
        return dir.set_outcome(&stager.bring_out(ran)?);
    }
    match stager.bring_in()? {
        // It was stopped meanwhile: then its end stands there already.
        Some(over) if dir.claim()? => dir.set_outcome(&over),
        Some(_) | None => Ok(()),
    }
}

/// Why nothing should be copied any more.
fn unwanted(dir: &AttemptDir) -> Result<Option<StopCause>, FileError> {
    if let Wanted::Stop { cause, .. } = dir.wanted()? {
        return Ok(Some(cause));
    }
    let lease = read_lease(dir.agent_dir())?;
    let holds = lease.is_some_and(|lease| Mono::now() < lease.soft_end());
    Ok((!holds).then_some(StopCause::SelfFenced))
}
