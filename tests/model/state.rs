//! What the model's world consists of: the API server's grant, the provider's books, the replicas and the clock.
//!
//! Times are seconds of one clock; the first tokens were received at 0. Counters whose values mean nothing but "the same"
//! or "later" are numbered anew after every step, so that two histories with the same future are one state.

use std::collections::BTreeSet;

/// A moment, in seconds.
pub type Second = i32;

/// How long an access token lives.
pub const LIFETIME: Second = 3_600;
/// How long a provider with a window of grace takes an old refresh token.
pub const GRACE: Second = 120;
/// The moments at which something may happen: the first is when the refresh is due. The others lie on both sides of the end
/// of the send window (10 s), of a request (45 s), of the time for replays (90 s) and of grace (120 s), at the last replay,
/// at expiry, and after it.
pub const MOMENTS: [Second; 9] = [2_400, 2_411, 2_445, 2_480, 2_500, 2_530, 3_540, 3_600, 3_700];

/// An unfinished refresh, as the grant has it.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Intent {
    pub attempt: u8,
    pub epoch: u8,
    pub holder: u8,
    pub boot: u8,
    pub first: Second,
    pub deadline: Second,
}

/// The grant as it lies at the API server.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Grant {
    /// Which object of this name it is: its uid.
    pub life: u8,
    pub version: u8,
    pub epoch: u8,
    pub generation: u8,
    /// The authorization at the provider that its tokens belong to.
    pub book: u8,
    /// Which of the provider's refresh tokens of that authorization is held.
    pub serial: u8,
    /// The attempt whose answer it holds; 0 for none.
    pub attempt: u8,
    pub obtained: Second,
    pub intent: Option<Intent>,
    pub refused: bool,
    /// Requests of people that were handled.
    pub handled: u8,
}

/// Which tokens: object, epoch and generation.
pub type Ident = (u8, u8, u8);

impl Grant {
    pub fn ident(&self) -> Ident {
        (self.life, self.epoch, self.generation)
    }

    pub fn expires(&self) -> Second {
        self.obtained + LIFETIME
    }
}

/// Why an authorization ended at the provider.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Ended {
    /// A refresh token was used twice.
    Reuse,
    /// A person disconnected.
    Revoked,
}

/// What the provider knows of one authorization.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Book {
    /// For each refresh token that was given, when it was first used.
    pub used: Vec<Option<Second>>,
    pub ended: Option<Ended>,
}

/// A token request.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Request {
    pub book: u8,
    pub serial: u8,
    /// It was sent later than its intent allows, by a process that was frozen between its last check and the send.
    pub late: bool,
    /// It is the last replay before expiry, or a later one.
    pub last: bool,
}

/// A refresh that is being carried out.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Job {
    pub attempt: u8,
    /// The grant as it is known: as it was planned with, then as the API server answered.
    pub view: Grant,
    /// When a request with this token was first sent, if what became of it is unknown.
    pub replay: Option<Second>,
    /// Until when the request may be sent.
    pub send_by: Second,
    /// Requests of people that it handles.
    pub handles: u8,
}

/// Where a replica stands. Every stage is left by one step, and a process may die before or after it.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Stage {
    /// Between two reconciles.
    Idle,
    /// About to write the intent.
    Intend(Job),
    /// The write of the intent met a conflict: whose?
    IntendAgain(Job),
    /// The intent stands; is there still time to send?
    Check(Job),
    /// There is.
    Send(Job),
    /// The request is on its way.
    Await(Job, Request),
    /// The answer is in memory and nowhere else.
    Persist(Job, u8),
    /// Its write failed, or met a conflict: how does the grant look now?
    PersistAgain(Job, u8),
    /// Nothing was sent: the intent goes again.
    TakeBack(Job),
    /// The provider refused: has somebody refreshed in between?
    EndAgain(Job),
    /// About to write that the grant has ended.
    End(Grant),
    /// An unfinished refresh was found and the provider can be asked: first the grant itself.
    Unfinished(Intent, bool),
    /// Asking: introspection, or the old access token.
    Ask(Grant, Intent, bool),
    /// About to write the Secret for workloads.
    Publish(Ident),
    /// About to write the status.
    Tell(Ident, Word),
    /// Disconnecting: is a refresh on its way?
    Forget,
    /// About to revoke.
    Revoke(Grant),
    /// About to delete exactly this grant.
    Delete(Grant),
}

/// What the conditions say.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub enum Word {
    #[default]
    Nothing,
    Fresh,
    Failing,
    Ambiguous,
    Expired,
    Reauthorize,
}

/// One replica. All of them believe to lead, always.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Replica {
    pub up: bool,
    pub frozen: bool,
    pub boot: u8,
    /// The grant as its watch shows it, or as it wrote it last.
    pub cache: Option<Grant>,
    pub stage: Stage,
    /// The refresh that failed last.
    pub trouble: Option<Word>,
    /// The intent that was seen, and since when.
    pub seen: Option<(u8, Second)>,
    /// The last attempt of this process that spent nothing, whatever still lies on the grant.
    pub unspent: Option<u8>,
}

/// Faults and acts of people so far.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Spent {
    pub kills: u8,
    pub freezes: u8,
    pub api: u8,
    pub net: u8,
    pub people: u8,
}

impl Spent {
    pub fn events(self) -> u8 {
        self.kills + self.freezes + self.api + self.net + self.people
    }
}

/// Everything.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct State {
    pub now: Second,
    pub grant: Option<Grant>,
    pub versions: u8,
    pub attempts: u8,
    pub lives: u8,
    pub books: Vec<Book>,
    pub replicas: Vec<Replica>,
    /// Requests whose senders have given up or died, and that may still arrive.
    pub ghosts: Vec<Request>,
    pub published: Option<Ident>,
    pub told: (Ident, Word),
    /// How often a person asked for a refresh.
    pub asked: u8,
    /// A person asked to disconnect.
    pub leaving: bool,
    pub spent: Spent,
    /// What happened that must not, or that explains a loss: see `properties`.
    pub marks: u32,
}

impl State {
    /// A grant whose refresh is due, and replicas that have seen it.
    pub fn new(replicas: usize) -> Self {
        let grant = Grant {
            life: 1,
            version: 1,
            epoch: 1,
            generation: 1,
            book: 0,
            serial: 0,
            attempt: 0,
            obtained: 0,
            intent: None,
            refused: false,
            handled: 0,
        };
        let replica = Replica {
            up: true,
            frozen: false,
            boot: 0,
            cache: Some(grant),
            stage: Stage::Idle,
            trouble: None,
            seen: None,
            unspent: None,
        };
        Self {
            now: MOMENTS[0],
            grant: Some(grant),
            versions: 1,
            attempts: 0,
            lives: 1,
            books: vec![Book { used: vec![None], ended: None }],
            replicas: vec![replica; replicas],
            ghosts: vec![],
            published: Some(grant.ident()),
            told: (grant.ident(), Word::Fresh),
            asked: 0,
            leaving: false,
            spent: Spent::default(),
            marks: 0,
        }
    }

    pub fn mark(&mut self, mark: u32) {
        self.marks |= mark;
    }

    pub fn is_marked(&self, mark: u32) -> bool {
        self.marks & mark != 0
    }

    /// The requests that are on their way.
    pub fn in_flight(&self) -> impl Iterator<Item = Request> + '_ {
        let awaited = self.replicas.iter().filter_map(|replica| match replica.stage {
            Stage::Await(_, request) => Some(request),
            _ => None,
        });
        awaited.chain(self.ghosts.iter().copied())
    }

    /// Numbers versions and attempts anew: the same order, without gaps.
    pub fn normalise(&mut self) {
        let (mut versions, mut attempts) = (BTreeSet::new(), BTreeSet::from([0]));
        self.visit(&mut |grant: &mut Grant| {
            versions.insert(grant.version);
            attempts.extend(grant.intent.map(|intent| intent.attempt));
        });
        self.visit_attempts(&mut |attempt| {
            attempts.insert(*attempt);
        });
        let rank = |of: &BTreeSet<u8>, number: u8| u8::try_from(of.range(..number).count()).unwrap();
        self.visit(&mut |grant: &mut Grant| {
            grant.version = rank(&versions, grant.version);
            // An attempt that nobody can come back to is any attempt.
            grant.attempt = if attempts.contains(&grant.attempt) { rank(&attempts, grant.attempt) } else { 0 };
            if let Some(intent) = &mut grant.intent {
                intent.attempt = rank(&attempts, intent.attempt);
            }
        });
        self.visit_attempts(&mut |attempt| *attempt = rank(&attempts, *attempt));
        self.versions = u8::try_from(versions.len()).unwrap();
        self.attempts = u8::try_from(attempts.len()).unwrap();
    }

    fn visit(&mut self, each: &mut dyn FnMut(&mut Grant)) {
        self.grant.iter_mut().for_each(&mut *each);
        for replica in &mut self.replicas {
            replica.cache.iter_mut().for_each(&mut *each);
            match &mut replica.stage {
                Stage::End(grant) | Stage::Ask(grant, ..) | Stage::Revoke(grant) | Stage::Delete(grant) => each(grant),
                stage => stage.job_mut().into_iter().for_each(|job| each(&mut job.view)),
            }
        }
    }

    fn visit_attempts(&mut self, each: &mut dyn FnMut(&mut u8)) {
        for replica in &mut self.replicas {
            if let Some((attempt, _)) = &mut replica.seen {
                each(attempt);
            }
            replica.unspent.iter_mut().for_each(&mut *each);
            match &mut replica.stage {
                Stage::Unfinished(intent, _) | Stage::Ask(_, intent, _) => each(&mut intent.attempt),
                stage => stage.job_mut().into_iter().for_each(|job| each(&mut job.attempt)),
            }
        }
    }
}

impl Stage {
    /// The refresh that is being carried out.
    fn job_mut(&mut self) -> Option<&mut Job> {
        match self {
            Self::Intend(job)
            | Self::IntendAgain(job)
            | Self::Check(job)
            | Self::Send(job)
            | Self::Await(job, _)
            | Self::Persist(job, _)
            | Self::PersistAgain(job, _)
            | Self::TakeBack(job)
            | Self::EndAgain(job) => Some(job),
            _ => None,
        }
    }
}
