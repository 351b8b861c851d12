//! What the API promises, through the generated client, on a server in memory whose clock the tests move.
//!
//! Every expected number is worked out by hand in a comment next to it.

mod checks;
mod client;
mod history;
mod scene;
mod site_agent;
mod world;

mod agents;
mod audit;
mod drain;
mod evidence;
mod forecasts;
mod giving_way;
mod limits;
mod ledger;
mod signed;
mod logs;
mod links;
mod listing;
mod pauses;
mod plan;
mod priority;
mod quote_explain;
mod replan;
mod resubmit;
mod room;
mod rules;
mod site_lost;
mod staging;
mod submit;
mod sweep;
mod units;
mod verbs;
mod watch;
mod windows;
