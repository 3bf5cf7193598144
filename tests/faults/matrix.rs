//! Which cells there are, what may come of each, and the table of what did.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cell::{Cell, Operation, Outcome, Played, Spoilt, play};
use crate::proxy::Fault;
use crate::stage::{Profile, Stage};

/// What happens to requests to the API server.
const API: [Fault; 6] =
    [Fault::NotSent, Fault::AnswerLost, Fault::Stalled, Fault::Twice, Fault::KilledBefore, Fault::KilledAfter];
/// What happens to requests to an app.
const APP: [Fault; 9] = [
    Fault::Refused,
    Fault::NotSent,
    Fault::ErrorBefore,
    Fault::AnswerLost,
    Fault::Truncated,
    Fault::ErrorAfter,
    Fault::Stalled,
    Fault::KilledBefore,
    Fault::KilledAfter,
];
/// The request that spends a refresh token.
const REFRESH: &str = "POST token: refresh";
/// The request that spends a code.
const CODE: &str = "POST token: code";

/// Starts so many stages.
pub async fn stages(count: usize) -> Option<Vec<Stage>> {
    let started = futures::future::join_all((0..count).map(|_| Stage::start("faults"))).await;
    started.into_iter().collect()
}

/// Plays cells on all stages at once.
pub async fn play_all(stages: &mut [Stage], cells: Vec<Cell>) -> Vec<(Cell, Played)> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let queue = Mutex::new(VecDeque::from(cells));
    let played = Mutex::new(vec![]);
    let work = stages.iter_mut().map(async |stage| {
        loop {
            let Some(cell) = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else { return };
            let mut result = play(stage, &cell, NUMBER.fetch_add(1, Ordering::Relaxed)).await;
            // What comes in which order is not the same in every run.
            for _ in 0..2 {
                if result.met || cell.spoilt.is_none() {
                    break;
                }
                result = play(stage, &cell, NUMBER.fetch_add(1, Ordering::Relaxed)).await;
            }
            if let Err(error) = &result.outcome {
                let log = stage.log();
                let tail: Vec<_> = log.lines().rev().take(12).collect();
                println!("FAULTS {cell}: {error}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
            played.lock().unwrap_or_else(PoisonError::into_inner).push((cell, result));
        }
    });
    futures::future::join_all(work).await;
    let mut played = played.into_inner().unwrap_or_else(PoisonError::into_inner);
    played.sort_by(|(one, _), (other, _)| one.cmp(other));
    played
}

/// A run in which nothing went wrong.
pub struct Reference {
    pub cell: Cell,
    pub played: Played,
}

impl Reference {
    pub fn new((cell, played): (Cell, Played)) -> Self {
        assert!(played.outcome.is_ok(), "{cell}: {:?}", played.outcome);
        Self { cell, played }
    }

    fn with(&self, by_app: bool, request: &str, occurrence: usize, fault: Fault) -> Cell {
        let spoilt = Some(Spoilt { by_app, request: request.to_owned(), occurrence, fault });
        Cell { spoilt, ..self.cell.clone() }
    }
}

/// All cells of an operation at an app: each of its requests with each fault.
pub fn spoil(reference: &Reference) -> Vec<Cell> {
    let mut cells = BTreeSet::new();
    for seen in &reference.played.api {
        for fault in API {
            cells.insert(reference.with(false, &seen.request, seen.occurrence, fault));
        }
    }
    for seen in &reference.played.app {
        for fault in APP {
            cells.insert(reference.with(true, &seen.request, seen.occurrence, fault));
        }
    }
    cells.into_iter().collect()
}

/// The cells that are played every time.
pub fn chosen(reference: &Reference) -> Vec<Cell> {
    let mut cells = if reference.cell.operation == Operation::Refresh { crash_matrix(reference) } else { vec![] };
    if reference.cell.profile == Profile::StrictAsked {
        let writes = reference.played.api.iter().filter(|seen| !seen.request.contains(" event "));
        cells.extend(writes.map(|seen| reference.with(false, &seen.request, seen.occurrence, Fault::AnswerLost)));
    }
    cells
}

/// The rows of the crash matrix: a process that dies at each step of a refresh.
fn crash_matrix(reference: &Reference) -> Vec<Cell> {
    let request = |of: &str| reference.played.api.iter().find(|seen| seen.request.starts_with(of));
    let api = |of: &str, fault| reference.with(false, &request(of).unwrap().request, 0, fault);
    vec![
        api("patch grant: intent", Fault::KilledBefore),
        api("patch grant: intent", Fault::KilledAfter),
        reference.with(true, REFRESH, 0, Fault::KilledBefore),
        reference.with(true, REFRESH, 0, Fault::KilledAfter),
        api("patch grant: tokens", Fault::KilledBefore),
        api("patch grant: tokens", Fault::KilledAfter),
        api("patch token Secret", Fault::KilledBefore),
        api("patch integration/status", Fault::KilledBefore),
    ]
}

/// What may come of a cell: anything else is a loss that could have been avoided, or one that nobody is told of.
fn allowed(cell: &Cell) -> &'static [Outcome] {
    let Some(Spoilt { by_app, request, occurrence, fault }) = &cell.spoilt else {
        return &[Outcome::Kept, Outcome::Revoked];
    };
    let first = *occurrence == 0;
    match cell.operation {
        Operation::Refresh => {
            let answer_lost = *by_app && first && request == REFRESH && fault.commits();
            let died_with_it =
                !by_app && first && request.starts_with("patch grant: tokens") && *fault == Fault::KilledBefore;
            if (answer_lost || died_with_it) && !cell.profile.replays() { &[Outcome::Told] } else { &[Outcome::Kept] }
        }
        Operation::Connect | Operation::Reconnect => {
            // A code is sent once, and a person who sees an error, or a page that breaks off, begins again.
            let after = ["patch grant", "create grant", "create token Secret", "patch token Secret", "GET userinfo"];
            let derived = after.iter().any(|of| request.starts_with(of)) || request == "patch integration/status";
            if derived && !fault.kills() { &[Outcome::Kept] } else { &[Outcome::Kept, Outcome::KeptAgain] }
        }
        Operation::Disconnect | Operation::Delete => &[Outcome::Revoked],
    }
}

/// Operation, whether the request is the app's, its name, which of that name, and the fault.
type Row<'a> = (Operation, bool, &'a str, usize, Fault);

/// What came of all cells.
pub struct Table {
    played: Vec<(Cell, Played)>,
    references: BTreeMap<(Operation, Profile), BTreeMap<String, usize>>,
}

impl Table {
    pub fn new(references: &[Reference], played: Vec<(Cell, Played)>) -> Self {
        let objects = |reference: &Reference| {
            ((reference.cell.operation, reference.cell.profile), reference.played.objects.clone())
        };
        Self { played, references: references.iter().map(objects).collect() }
    }

    /// Cells with another outcome than they may have, and those in which a grant was ended by us.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = vec![];
        for (cell, played) in &self.played {
            match &played.outcome {
                Err(error) => wrong.push(format!("{cell}: {error}")),
                Ok(outcome) if played.met && !allowed(cell).contains(outcome) => {
                    wrong.push(format!("{cell}: {}, and not {:?}", outcome.name(), allowed(cell)));
                }
                // The last replay of a strict app that cannot be asked: it was lost already.
                Ok(Outcome::Told) if cell.profile == Profile::Strict => {}
                Ok(_) if played.reuse => wrong.push(format!("{cell}: a rotated refresh token was used")),
                Ok(outcome) => {
                    if let Some(strays) = self.strays(cell, played, *outcome) {
                        wrong.push(format!("{cell}: {strays}"));
                    }
                }
            }
        }
        wrong
    }

    /// Objects that were created or deleted other than in the reference run. Who begins again makes more of them.
    fn strays(&self, cell: &Cell, played: &Played, outcome: Outcome) -> Option<String> {
        if !matches!(outcome, Outcome::Kept | Outcome::Revoked) || !played.met {
            return None;
        }
        let reference = self.references.get(&(cell.operation, cell.profile))?;
        (reference != &played.objects).then(|| format!("objects {:?} instead of {reference:?}", played.objects))
    }

    /// For people.
    pub fn render(&self, took: Duration) -> String {
        let mut rows: BTreeMap<Row<'_>, BTreeMap<Profile, String>> = BTreeMap::new();
        let mut sums: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut unmet, mut unheld) = (0, 0);
        for (cell, played) in &self.played {
            let Some(spoilt) = &cell.spoilt else { continue };
            let mut said = played.outcome.as_ref().map_or("WRONG", |outcome| outcome.name()).to_owned();
            *sums.entry(played.outcome.as_ref().map_or("wrong", |outcome| outcome.name())).or_default() += 1;
            if !played.met {
                unmet += 1;
                said = format!("({said})");
            }
            if played.unheld > 0 {
                unheld += 1;
                said.push_str(" *");
            }
            let row = (cell.operation, spoilt.by_app, spoilt.request.as_str(), spoilt.occurrence, spoilt.fault);
            rows.entry(row).or_default().insert(cell.profile, said);
        }
        let mut text = String::from("| operation | request | goes wrong |");
        for profile in Profile::ALL {
            let _ = write!(text, " {} |", profile.name());
        }
        text.push_str("\n|---|---|---|---|---|---|---|---|---|\n");
        for ((operation, _, request, occurrence, fault), outcomes) in rows {
            let nth = if occurrence == 0 { String::new() } else { format!(" ({})", occurrence + 1) };
            let _ = write!(text, "| {} | {request}{nth} | {} |", operation.name(), fault.name());
            for profile in Profile::ALL {
                let _ = write!(text, " {} |", outcomes.get(&profile).map_or("–", String::as_str));
            }
            text.push('\n');
        }
        let reuse = self.played.iter().filter(|(_, played)| played.reuse).count();
        let _ = write!(
            text,
            "\n{} cells in {} s: {sums:?}. In {unmet} the request did not come (in brackets). In {unheld} the app keeps a grant \
             that nobody holds (*). In {reuse} a rotated refresh token was used.\n",
            self.played.len(),
            took.as_secs()
        );
        text
    }

    /// Leaves the table under target/.
    pub fn write(&self) {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/faults");
        std::fs::create_dir_all(&directory).unwrap();
        let took = self.played.iter().map(|(_, played)| played.took).sum();
        std::fs::write(directory.join("matrix.md"), self.render(took)).unwrap();
    }
}
