//! Where a data migration stands and what may follow: pure, and the same for a command, a call and another process.
//!
//! ```text
//! Pending ─start→ Running ─end→ Verifying ─end→ Done ─commit→ Committing ─end→ Done, committed
//!    ↑               │              │  ↑________/ │ verify
//!    start           └──── rollback ┴─────────────┴→ RollingBack ─end→ RolledBack ─start→ Running
//! ```
//! Whatever runs can be paused, or fail, and goes on from its last batch by a start. From the first batch of a commit
//! on there is no way back.

use portal_core::Timestamp;
use portal_store::idempotency::Forms;

/// The state of a data migration.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// Registered, not started.
    Pending,
    /// Moving rows.
    Running,
    /// Stopped by an operator; goes on from its last batch.
    Paused,
    /// Comparing what it moved.
    Verifying,
    /// Moved and verified; if it is committed, for good.
    Done,
    /// Dropping the old form.
    Committing,
    /// Putting rows back.
    RollingBack,
    /// Everything is as before.
    RolledBack,
    /// Stopped by an error; nothing is half-written.
    Failed,
}

/// What is done to the rows, batch by batch.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Step {
    /// Dropping the old form.
    Commit,
    /// Writing the new form.
    Move,
    /// Dropping the new form, or putting the old one back.
    Undo,
    /// Opening and comparing both.
    Verify,
}

/// What a service writes to rows that a migration concerns. Any version of a service reads the old form where there is
/// one, and else the new one: then whoever wrote last is believed, also while an older version is still running.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The old form alone.
    Old,
    /// Both forms.
    Both,
    /// The new form alone. It stays like this: a service may remember it.
    New,
}

/// In which forms replies to request ids are kept.
impl From<Mode> for Forms {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Old => Self::Plain,
            Mode::Both => Self::Both,
            Mode::New => Self::Sealed,
        }
    }
}

/// The record of a migration without its progress: changes when its state does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The migration.
    pub name: String,
    /// Where it stands.
    pub state: State,
    /// What it does, or did when it was paused or failed.
    pub step: Step,
    /// Whether the old form is gone.
    pub committed: bool,
    /// Most rows per second, if an operator said so.
    pub max_rows_per_second: Option<u32>,
    /// Why it failed: the reason of an error.
    pub failure_reason: Option<String>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// The state does not allow it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TransitionError {
    /// Its old form is gone, or is going.
    #[error("the migration is committed")]
    Committed,
    /// It is done.
    #[error("the migration is done")]
    Done,
    /// There is nothing to commit or verify yet.
    #[error("the migration is not done")]
    NotDone,
    /// It does not run.
    #[error("the migration does not run")]
    NotRunning,
    /// It moved nothing yet.
    #[error("the migration has not moved anything")]
    NotStarted,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Running,
        Self::Paused,
        Self::Verifying,
        Self::Done,
        Self::Committing,
        Self::RollingBack,
        Self::RolledBack,
        Self::Failed,
    ];

    /// The name in the table and in metrics; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Verifying => "verifying",
            Self::Done => "done",
            Self::Committing => "committing",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
        }
    }

    /// The state of this [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// What is done to the rows in this state, if anything.
    #[must_use]
    pub const fn active(self) -> Option<Step> {
        match self {
            Self::Running => Some(Step::Move),
            Self::Verifying => Some(Step::Verify),
            Self::Committing => Some(Step::Commit),
            Self::RollingBack => Some(Step::Undo),
            Self::Pending | Self::Paused | Self::Done | Self::RolledBack | Self::Failed => None,
        }
    }
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 4] = [Self::Commit, Self::Move, Self::Undo, Self::Verify];

    /// The name in the table and in metrics; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Move => "move",
            Self::Undo => "undo",
            Self::Verify => "verify",
        }
    }

    /// The step of this [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    const fn state(self) -> State {
        match self {
            Self::Commit => State::Committing,
            Self::Move => State::Running,
            Self::Undo => State::RollingBack,
            Self::Verify => State::Verifying,
        }
    }
}

impl Record {
    /// A migration that was never started.
    #[must_use]
    pub fn pending(name: &str, now: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            state: State::Pending,
            step: Step::Move,
            committed: false,
            max_rows_per_second: None,
            failure_reason: None,
            started_at: None,
            changed_at: now,
            ended_at: None,
        }
    }

    /// What services write.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        match (self.state, self.step, self.committed) {
            (_, _, true) | (_, Step::Commit, _) => Mode::New,
            (State::Pending | State::RolledBack, ..) | (_, Step::Undo, _) => Mode::Old,
            (_, Step::Move | Step::Verify, _) => Mode::Both,
        }
    }

    /// Whether it can be rolled back from where it stands.
    #[must_use]
    pub fn reversible(&self) -> bool {
        self.clone().roll_back(self.changed_at).is_ok()
    }

    /// Starts it, or lets it go on. What runs already just runs on.
    ///
    /// # Errors
    /// [`TransitionError::Done`].
    pub fn start(self, now: Timestamp) -> Result<Self, TransitionError> {
        match self.state {
            State::Pending | State::RolledBack => {
                Ok(Self { started_at: Some(now), ..self.begin(Step::Move, now) })
            }
            State::Paused | State::Failed => {
                let step = self.step;
                Ok(self.begin(step, now))
            }
            State::Running | State::Verifying | State::Committing | State::RollingBack => Ok(self),
            State::Done => Err(TransitionError::Done),
        }
    }

    /// Stops it after its present batch.
    ///
    /// # Errors
    /// [`TransitionError::NotRunning`].
    pub fn pause(self, now: Timestamp) -> Result<Self, TransitionError> {
        match self.state {
            State::Paused => Ok(self),
            state if state.active().is_some() => Ok(Self { state: State::Paused, changed_at: now, ..self }),
            _ => Err(TransitionError::NotRunning),
        }
    }

    /// Puts everything back.
    ///
    /// # Errors
    /// [`TransitionError::Committed`], [`TransitionError::NotStarted`].
    pub fn roll_back(self, now: Timestamp) -> Result<Self, TransitionError> {
        if self.mode() == Mode::New {
            return Err(TransitionError::Committed);
        }
        match self.state {
            State::Pending | State::RolledBack => Err(TransitionError::NotStarted),
            State::RollingBack => Ok(self),
            State::Running
            | State::Paused
            | State::Verifying
            | State::Done
            | State::Failed
            | State::Committing => Ok(self.begin(Step::Undo, now)),
        }
    }

    /// Compares everything once more.
    ///
    /// # Errors
    /// [`TransitionError::Committed`], [`TransitionError::NotDone`].
    pub fn verify(self, now: Timestamp) -> Result<Self, TransitionError> {
        match (self.state, self.step) {
            _ if self.mode() == Mode::New => Err(TransitionError::Committed),
            (State::Verifying, _) => Ok(self),
            (State::Done, _) | (State::Paused | State::Failed, Step::Verify) => {
                Ok(self.begin(Step::Verify, now))
            }
            _ => Err(TransitionError::NotDone),
        }
    }

    /// Drops the old form.
    ///
    /// # Errors
    /// [`TransitionError::Committed`], [`TransitionError::NotDone`].
    pub fn commit(self, now: Timestamp) -> Result<Self, TransitionError> {
        match (self.state, self.step) {
            _ if self.committed => Err(TransitionError::Committed),
            (State::Committing, _) => Ok(self),
            (State::Done, _) | (State::Paused | State::Failed, Step::Commit) => {
                Ok(self.begin(Step::Commit, now))
            }
            _ => Err(TransitionError::NotDone),
        }
    }

    /// What follows when its step has done every row.
    #[must_use]
    pub fn step_ended(self, now: Timestamp) -> Self {
        match self.step {
            Step::Move => self.begin(Step::Verify, now),
            Step::Verify => self.end(State::Done, now),
            Step::Undo => self.end(State::RolledBack, now),
            Step::Commit => Self { committed: true, ..self.end(State::Done, now) },
        }
    }

    /// There is nothing to move and never was: done for good.
    #[must_use]
    pub fn settle(self, now: Timestamp) -> Self {
        Self { committed: true, ..self.end(State::Done, now) }
    }

    /// It can't go on.
    #[must_use]
    pub fn fail(self, reason: &str, now: Timestamp) -> Self {
        Self { failure_reason: Some(reason.to_owned()), ..self.end(State::Failed, now) }
    }

    fn begin(self, step: Step, now: Timestamp) -> Self {
        let state = step.state();
        Self { state, step, failure_reason: None, changed_at: now, ended_at: None, ..self }
    }

    fn end(self, state: State, now: Timestamp) -> Self {
        Self { state, changed_at: now, ended_at: Some(now), ..self }
    }
}
