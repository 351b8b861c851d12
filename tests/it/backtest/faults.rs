//! Faults change what they should and nothing else.

use lancang::sim::backtest::{PolicyRun, Verdict};

use super::{Files, at, run};

/// Site and first hour of the first piece of a job, by its position.
fn place(run: &PolicyRun, first_slot: u32, job: usize) -> (usize, u32) {
    let mut pieces = run.driven.executed.iter().filter(|piece| piece.job == job);
    let piece = pieces.next().unwrap();
    (piece.site, piece.slots.start.0 - first_slot)
}

#[test]
fn the_controller_goes_where_power_is_and_run_now_to_the_nearest() {
    let scenario = Files::new().load();
    let report = run(&scenario);
    let first = scenario.range.start.0;
    // Green power by day is at beta; alpha is nearer.
    assert_eq!(place(&report.lancang, first, 0), (1, 8));
    assert_eq!(place(&report.run_now, first, 0), (0, 8));
    assert_eq!(report.lancang.figures.green_share_permille, 1_000);
    assert_eq!(report.run_now.figures.green_share_permille, 0);
    let comparison = report.comparison();
    assert_eq!(comparison.grid_energy_saved_permille, 1_000);
    assert_eq!(comparison.regret_grid_watt_seconds, 0);
    assert_eq!(report.lancang.figures.jobs.finished, 1);
    assert_eq!(report.lancang.figures.mean_delay_seconds, 0);
}

#[test]
fn a_wrong_forecast_is_regretted() {
    let mut files = Files::new();
    // Everything is foretold at alpha that comes at beta, and the other way round.
    files.forecasts = files
        .forecasts
        .replace("alpha", "gamma")
        .replace("beta", "alpha")
        .replace("gamma", "beta");
    // Until 09:00, so that only the site can be chosen.
    files.jobs = files.jobs.replace("T20:00", "T09:00");
    let scenario = files.load();
    let report = run(&scenario);
    assert_eq!(report.lancang.figures.green_share_permille, 0);
    assert_eq!(report.perfect.figures.green_share_permille, 1_000);
    let comparison = report.comparison();
    assert_eq!(comparison.regret_grid_watt_seconds, 1_000 * 3_600_000);
    assert_eq!(comparison.regret_permille_of_energy, 1_000);
}

#[test]
fn missing_and_late_forecasts_reach_the_controller_less_or_later() {
    let missing = "[[missing]]\nsupply = \"beta/hydro\"\nfrom = \"2025-02-28T00:00:00+08:00\"\nuntil = \"2025-02-28T08:30:00+08:00\"\n";
    let scenario = Files::new().with(missing).load();
    assert_eq!(scenario.forecasts.len(), 3);
    assert_eq!(run(&scenario).lancang.figures.counters.forecasts_stored, 3);

    // A day and more late: both days' issues arrive while it is too late for the job, or never.
    let late = "[[late]]\nminutes = 2000\n";
    let scenario = Files::new().with(late).load();
    let arrives = scenario.forecasts[0].arrives_at.0 - scenario.forecasts[0].issue.id.issued_at.0;
    assert_eq!(arrives, 2_000 * 60_000);
    let report = run(&scenario);
    // The first day's issues have ended by then and none is refused for that reason alone; the second day's count.
    assert_eq!(report.lancang.figures.counters.forecasts_stored, 4);
    // Without forecasts both sites look alike by the month, so the nearer does not matter and the plan is worse.
    let punctual = run(&Files::new().load())
        .lancang
        .figures
        .green_share_permille;
    assert!(report.lancang.figures.green_share_permille < punctual);
}

#[test]
fn an_outage_stops_what_runs_and_it_runs_again_elsewhere() {
    let outage = format!(
        "[[outage]]\nsite = \"beta\"\nfrom = \"{}\"\nuntil = \"{}\"\n",
        at(9),
        at(21)
    );
    // Three hours from 08:00 on at beta; after an hour beta is dark.
    let mut files = Files::new().with(&outage);
    files.jobs = files
        .jobs
        .replace(",3600,", ",10800,")
        .replace("T20:00", "T12:00");
    let scenario = files.load();
    let report = run(&scenario);
    let first = scenario.range.start.0;
    let pieces: Vec<(usize, u32, u32)> = report
        .lancang
        .driven
        .executed
        .iter()
        .map(|piece| (piece.site, piece.slots.start.0 - first, piece.slots.len()))
        .collect();
    assert_eq!(pieces, [(1, 8, 1), (0, 9, 3)]);
    let outcome = &report.lancang.driven.outcomes[0];
    assert_eq!(outcome.stops, 1);
    assert!(matches!(outcome.verdict, Verdict::Finished(end) if end.0 - first == 12));
    assert_eq!(report.lancang.figures.counters.stops, 1);

    // An interruptible job goes on with the two hours that are left.
    files.jobs = files
        .jobs
        .replace("deadline\n", "deadline,class\n")
        .replace("T12:00:00+08:00\n", "T12:00:00+08:00,interruptible\n");
    let scenario = files.load();
    let report = run(&scenario);
    let slots: u32 = report
        .lancang
        .driven
        .executed
        .iter()
        .map(|piece| piece.slots.len())
        .sum();
    assert_eq!(slots, 3);

    // Without time to begin anew it is lost.
    files.jobs = files
        .jobs
        .replace(",interruptible", ",rigid")
        .replace("T12:00", "T11:00");
    let scenario = files.load();
    let lost = run(&scenario).lancang;
    assert_eq!(lost.figures.jobs.lost, 1);
    assert_eq!(lost.figures.lost_by_reason["no room after an outage"], 1);
    assert_eq!(
        lost.figures.totals.energy_watt_seconds,
        1_000 * 3_600_000,
        "what had run counts"
    );
}

#[test]
fn a_planned_job_leaves_a_site_that_goes_dark() {
    let outage = format!(
        "[[outage]]\nsite = \"beta\"\nfrom = \"{}\"\nuntil = \"{}\"\n",
        at(7),
        at(21)
    );
    let mut files = Files::new().with(&outage);
    files.jobs = files
        .jobs
        .replace("one,2025-03-01T08", "one,2025-03-01T06")
        .replace("power_w,runtime_s", "power_w,runtime_s,earliest")
        .replace(",3600,", &format!(",3600,{},", at(9)));
    let scenario = files.load();
    let report = run(&scenario);
    let first = scenario.range.start.0;
    assert_eq!(place(&report.lancang, first, 0).0, 0);
    assert_eq!(report.lancang.driven.outcomes[0].moves, 1);
    assert_eq!(report.lancang.figures.counters.stops, 0);
}

#[test]
fn an_overrun_takes_longer_ends_late_and_may_overload_its_site() {
    let actual = |rows: &str| {
        let mut files = Files::new();
        files.jobs = format!("id,submit,cores,power_w,runtime_s,deadline,actual_runtime_s\n{rows}");
        files.load()
    };
    // One hour planned, three taken: it ends two hours after its deadline.
    let scenario = actual(&format!("one,{},8,800000,3600,{},10800\n", at(8), at(9)));
    let report = run(&scenario);
    assert_eq!(
        report.lancang.figures.late_by_reason["ran longer than it said"],
        1
    );
    assert_eq!(
        report.lancang.figures.totals.energy_watt_seconds,
        3_000 * 3_600_000
    );
    assert_eq!(report.lancang.figures.violations.power_cap_site_slots, 0);

    // A second job of 2 MW is bound to the same site for the next hour: the controller does not know of the overrun,
    // run-now sees it and cannot start.
    let mut files = Files::new();
    files.jobs = format!(
        "id,submit,cores,tasks,power_w,runtime_s,deadline,actual_runtime_s,site\n\
         one,{},8,1,800000,3600,{},7200,beta\n\
         two,{},8,2,900000,3600,{},3600,beta\n",
        at(8),
        at(9),
        at(8),
        at(10)
    );
    let scenario = files.load();
    let report = run(&scenario);
    assert_eq!(report.lancang.figures.violations.power_cap_site_slots, 1);
    assert_eq!(report.run_now.figures.violations.power_cap_site_slots, 0);
    assert_eq!(
        report.run_now.figures.lost_by_reason["no room before its deadline"],
        1
    );
}

#[test]
fn a_job_that_ends_early_frees_its_room() {
    let mut files = Files::new();
    // Two slots planned, one taken; the second job fits only into what the first leaves.
    files.jobs = format!(
        "id,submit,cores,tasks,power_w,runtime_s,deadline,actual_runtime_s,site\n\
         one,{},8,2,900000,7200,{},3600,beta\n\
         two,{},8,2,900000,3600,{},3600,beta\n",
        at(8),
        at(10),
        at(9),
        at(10)
    );
    let scenario = files.load();
    let report = run(&scenario);
    assert_eq!(report.lancang.figures.jobs.finished, 2);
    assert_eq!(report.run_now.figures.jobs.finished, 2);
}

#[test]
fn what_no_site_can_take_is_refused_with_the_last_hurdle() {
    let mut files = Files::new();
    files.jobs = format!(
        "id,submit,cores,tasks,power_w,runtime_s,deadline\nbig,{},8,9,800000,3600,{}\n",
        at(8),
        at(20)
    );
    let scenario = files.load();
    let report = run(&scenario);
    assert_eq!(report.lancang.figures.jobs.refused, 1);
    let refused = &report.lancang.figures.refused_by_reason;
    assert_eq!(refused["power exceeds cap"], 1);
    // Run-now has no quote to refuse with: the job waits for room that never comes.
    assert_eq!(report.run_now.figures.jobs.lost, 1);
}
