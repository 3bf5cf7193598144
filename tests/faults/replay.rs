//! Paths of the model (`tests/model`), played with the real program: the same requests go wrong in the same ways, and it has
//! to end as it does in the model, with as many token requests.

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::cell::{Cell, Operation, Outcome, REFRESH, Run};
use crate::proxy::{Fault, Trap};
use crate::stage::{Profile, Stage, TENANT};

const TRACES: &str = include_str!("traces.jsonl");
const TOKEN: &str = "POST token: refresh";
/// How long all faults may take to strike: at a strict app the second may have to wait for the end of the access token.
const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    profile: String,
    spoilt: Vec<Spoilt>,
    end: String,
    token_requests: usize,
}

#[derive(Deserialize)]
struct Spoilt {
    request: String,
    occurrence: usize,
    fault: String,
}

impl Trace {
    fn profile(&self) -> Profile {
        Profile::ALL.into_iter().find(|profile| profile.name() == self.profile).unwrap()
    }

    fn traps(&self) -> Vec<(bool, Trap)> {
        let trap = |spoilt: &Spoilt| {
            let by_app = spoilt.request.starts_with("POST") || spoilt.request.starts_with("GET");
            let (request, occurrence) = (spoilt.request.clone(), spoilt.occurrence);
            (by_app, Trap { request, occurrence, fault: fault(&spoilt.fault) })
        };
        self.spoilt.iter().map(trap).collect()
    }
}

fn fault(name: &str) -> Fault {
    let all = [
        Fault::NotSent,
        Fault::Refused,
        Fault::AnswerLost,
        Fault::ErrorBefore,
        Fault::KilledBefore,
        Fault::KilledAfter,
    ];
    all.into_iter().find(|fault| fault.name() == name).unwrap()
}

/// Plays one path; says how it ended, and after how many token requests.
async fn play(stage: &mut Stage, trace: &Trace, number: usize) -> Result<(Outcome, usize), String> {
    let cell = Cell { operation: Operation::Refresh, profile: trace.profile(), spoilt: None };
    let project = format!("t{number}");
    stage.account(cell.profile, &project);
    let mut run = Run::new(&cell, &project);
    stage.connect(&project, cell.profile.name()).await?;
    run.until(stage, "connected", async |run, stage| run.is_whole(stage, 1, 1).await).await?;
    stage.quiet().await;
    run.begin();
    stage.api.reset();
    stage.apps[&cell.profile].proxy.reset();
    for (by_app, trap) in trace.traps() {
        if by_app { stage.apps[&cell.profile].proxy.lay(trap) } else { stage.api.lay(trap) }
    }
    stage.world.annotate(TENANT, &run.name(), REFRESH, run.asked()).await;
    strike(stage, cell.profile, trace).await?;
    let outcome = run.refreshed(stage).await?;
    let seen = stage.apps[&cell.profile].proxy.seen();
    let requests = seen.iter().filter(|seen| seen.request == TOKEN).count();
    // What is held is refreshed once more, to show that it works.
    let requests = if outcome == Outcome::Kept { requests - 1 } else { requests };
    stage.api.reset();
    stage.apps[&cell.profile].proxy.reset();
    run.clear(stage).await;
    Ok((outcome, requests))
}

/// Waits for all faults to strike; raises the process when it was killed, and lets the app be reached again.
async fn strike(stage: &mut Stage, profile: Profile, trace: &Trace) -> Result<(), String> {
    let began = Instant::now();
    let mut raised = 0;
    let mut refused = 0;
    loop {
        let sprung = stage.api.is_sprung() && stage.apps[&profile].proxy.is_sprung();
        let seen: Vec<_> = stage.api.seen().into_iter().chain(stage.apps[&profile].proxy.seen()).collect();
        let kills = seen.iter().filter(|seen| seen.fault.is_some_and(Fault::kills)).count();
        let refusals = seen.iter().filter(|seen| seen.fault == Some(Fault::Refused)).count();
        if kills > raised {
            raised = kills;
            // The process is dead once the trap is gone.
            tokio::time::sleep(Duration::from_millis(300)).await;
            stage.raise().await;
        }
        if refusals > refused {
            refused = refusals;
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            stage.apps[&profile].proxy.reopen().await;
        }
        if sprung {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            let names: Vec<_> = trace.spoilt.iter().map(|spoilt| spoilt.request.as_str()).collect();
            return Err(format!("not all of {names:?} came"));
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_of_the_model_end_as_in_the_model() {
    let full = std::env::var("FAULTS").is_ok_and(|faults| faults == "full");
    let every = std::env::var("EVERY").ok().map_or(if full { 1 } else { 40 }, |text| text.parse().unwrap());
    let traces: Vec<Trace> = TRACES.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let Some(mut stage) = Stage::start("replay").await else { return };
    let mut wrong = vec![];
    let mut played = 0;
    for (number, trace) in traces.iter().enumerate().step_by(every) {
        let began = Instant::now();
        let outcome = play(&mut stage, trace, number).await;
        let spoilt: Vec<_> = trace
            .spoilt
            .iter()
            .map(|spoilt| format!("{} #{} {}", spoilt.request, spoilt.occurrence, spoilt.fault))
            .collect();
        let (found, requests) = match &outcome {
            Ok((outcome, requests)) => (outcome.name().to_owned(), *requests),
            Err(error) => (error.clone(), 0),
        };
        let same = found == trace.end && requests == trace.token_requests;
        played += 1;
        let line = format!(
            "{:<14} {:<90} model: {}, {} | real: {found}, {requests} | {:.1} s",
            trace.profile,
            spoilt.join("; "),
            trace.end,
            trace.token_requests,
            began.elapsed().as_secs_f64()
        );
        println!("REPLAY {} {line}", if same { "same " } else { "OTHER" });
        if !same {
            wrong.push(line);
        }
    }
    println!("REPLAY {played} of {} paths, {} end otherwise", traces.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
