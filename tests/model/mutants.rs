//! The protocol with one step left out, or done wrongly: each must be found out.

/// What is left out, or done wrongly.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Broken {
    /// Nothing is written before a request is sent.
    NoIntent,
    /// Writes do not care for what was written in between.
    NoCompareAndSwap,
    /// A conflict on storing an answer ends it.
    NoSecondLook,
    /// An error on storing an answer ends it.
    PersistsOnce,
    /// An intent of another replica is taken for dead.
    OthersAreDead,
    /// The time to send is not checked.
    SendsLate,
    /// The answer to a refresh of an older epoch is stored.
    EpochIgnored,
    /// A grant that is gone is created with the answer.
    CreatesAgain,
    /// A refusal is believed without another look.
    EndsUnseen,
    /// An intent is taken back when it is not known what became of the request.
    AmbiguityTakenBack,
    /// The intent of a replay is taken back when the replay was not sent.
    ReplayTakenBack,
    /// A replay counts as the first send.
    FirstSendForgotten,
    /// New tokens leave it standing that the grant has ended.
    RefusalStays,
    /// The condition does not tell of an ambiguous refresh.
    AmbiguityNotTold,
}
