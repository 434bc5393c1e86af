//! Work that is asked for at the same time is committed together.
//!
//! A commit waits for the disk, and a transaction for a dozen answers of the database, whether it does one thing or sixty.
//! So whoever comes while others are being written waits for the next transaction, with all who came meanwhile. Nobody waits
//! for company: the first one to come is written at once.
//!
//! What it promises:
//! - Each piece of work succeeds or fails by itself: a group that fails as a whole is tried again one by one, unless it
//!   failed for what all have in common: a database that is not there is not asked once for each of them.
//! - Nobody is answered before the commit, and everybody is, whoever else hangs up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portal_mesh::task;
use portal_store::StoreError;
use tokio::sync::{Semaphore, oneshot};

/// Pieces of work of one transaction.
const MOST: usize = 128;
/// Transactions at a time: while one waits for the disk, another one is prepared.
const TURNS: usize = 2;

/// A piece of work that can be committed with others of its kind.
pub trait Work: Send + Sync + Sized + 'static {
    /// What it is done with.
    type App: Send + Sync + 'static;
    /// What it comes to.
    type Done: Send + 'static;
    /// Why it does not.
    type Error: Failure;
    /// What its task is called.
    const NAME: &'static str;

    /// Where it waits.
    fn together(app: &Self::App) -> &Together<Self>;

    /// Whether it may be in the transaction of `group`, which is not empty.
    fn joins(&self, group: &[Self]) -> bool;

    /// Does all of `group` in one transaction, and says what each came to, in order.
    fn commit(
        app: &Self::App,
        group: &[Self],
    ) -> impl Future<Output = Result<Vec<Outcome<Self>>, Self::Error>> + Send;
}

/// What a piece of work comes to.
pub type Outcome<W> = Result<<W as Work>::Done, <W as Work>::Error>;

/// An error that several can be told of.
pub trait Failure: Send + Sync + 'static {
    /// The cause in the database, if it is there.
    fn store(&self) -> Option<&StoreError>;

    /// What one of those is told who failed together.
    fn of_all(error: Arc<Self>) -> Self;

    /// The process gave the work up.
    fn abandoned() -> Self;
}

struct Waiting<W: Work> {
    work: W,
    answer: oneshot::Sender<Outcome<W>>,
}

/// Those who wait for a transaction.
pub struct Together<W: Work> {
    waiting: Mutex<VecDeque<Waiting<W>>>,
    turns: Arc<Semaphore>,
}

impl<W: Work> Default for Together<W> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turns: Arc::new(Semaphore::new(TURNS)) }
    }
}

impl<W: Work> Together<W> {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting<W>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first of those who wait, up to the first one that may not join them.
    fn next(&self) -> (Vec<W>, Vec<oneshot::Sender<Outcome<W>>>) {
        let mut waiting = self.waiting();
        let (mut group, mut answers) = (Vec::new(), Vec::new());
        while group.len() < MOST {
            let joins = |next: &mut Waiting<W>| group.is_empty() || next.work.joins(&group);
            let Some(next) = waiting.pop_front_if(joins) else { break };
            group.push(next.work);
            answers.push(next.answer);
        }
        (group, answers)
    }
}

/// Does `work`, in the next transaction.
///
/// # Errors
/// What the work failed of.
pub async fn ask<W: Work>(app: &Arc<W::App>, work: W) -> Outcome<W> {
    let (answer, answered) = oneshot::channel();
    W::together(app).waiting().push_back(Waiting { work, answer });
    set_out::<W>(app);
    answered.await.unwrap_or_else(|_| Err(W::Error::abandoned()))
}

/// Has a turn taken, if one is free, until nobody waits any more.
fn set_out<W: Work>(app: &Arc<W::App>) {
    let Ok(turn) = Arc::clone(&W::together(app).turns).try_acquire_owned() else { return };
    let app = Arc::clone(app);
    task::spawn(W::NAME, async move {
        loop {
            let (group, answers) = W::together(&app).next();
            if group.is_empty() {
                break;
            }
            for (answer, outcome) in answers.into_iter().zip(outcomes(&*app, &group).await) {
                // Whoever hung up is not told.
                drop(answer.send(outcome));
            }
        }
        drop(turn);
        // Whoever came in between found no turn free.
        if !W::together(&app).waiting().is_empty() {
            set_out::<W>(&app);
        }
    });
}

async fn outcomes<W: Work>(app: &W::App, group: &[W]) -> Vec<Outcome<W>> {
    match W::commit(app, group).await {
        Ok(outcomes) => outcomes,
        Err(error) if group.len() == 1 => vec![Err(error)],
        Err(error) if is_common(&error) => all_failed::<W>(group.len(), error),
        Err(_) => one_by_one(app, group).await,
    }
}

/// Does each of them in a transaction of its own, as long as there is a database.
async fn one_by_one<W: Work>(app: &W::App, group: &[W]) -> Vec<Outcome<W>> {
    let mut outcomes = Vec::with_capacity(group.len());
    for work in group.chunks(1) {
        match W::commit(app, work).await {
            Ok(outcome) => outcomes.extend(outcome),
            Err(error) if is_common(&error) => {
                outcomes.extend(all_failed::<W>(group.len() - outcomes.len(), error));
                break;
            }
            Err(error) => outcomes.push(Err(error)),
        }
    }
    outcomes
}

/// Whether the next one would fail of the same, and after as long.
fn is_common(error: &impl Failure) -> bool {
    matches!(error.store(), Some(StoreError::Conflict { .. } | StoreError::Unavailable(_)))
}

fn all_failed<W: Work>(count: usize, error: W::Error) -> Vec<Outcome<W>> {
    let error = Arc::new(error);
    (0..count).map(|_| Err(W::Error::of_all(Arc::clone(&error)))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::pin::Pin;

    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::sync::mpsc;

    use super::*;

    /// Writes what it is told to when it is told to.
    struct Desk {
        together: Together<Note>,
        /// The groups that were begun; each waits for a permit.
        begun: mpsc::UnboundedSender<Vec<u32>>,
        may: Semaphore,
        /// What is written of these fails.
        bad: Vec<u32>,
        gone: bool,
    }

    struct Note(u32);

    #[derive(Debug)]
    enum Fault {
        Bad,
        Store(StoreError),
        OfAll(Arc<Fault>),
        Abandoned,
    }

    impl Failure for Fault {
        fn store(&self) -> Option<&StoreError> {
            match self {
                Self::Store(error) => Some(error),
                _ => None,
            }
        }

        fn of_all(error: Arc<Self>) -> Self {
            Self::OfAll(error)
        }

        fn abandoned() -> Self {
            Self::Abandoned
        }
    }

    impl Work for Note {
        type App = Desk;
        type Done = u32;
        type Error = Fault;
        const NAME: &'static str = "notes";

        fn together(app: &Desk) -> &Together<Self> {
            &app.together
        }

        fn joins(&self, group: &[Self]) -> bool {
            group.iter().all(|one| one.0 != self.0)
        }

        async fn commit(app: &Desk, group: &[Self]) -> Result<Vec<Outcome<Self>>, Fault> {
            app.begun.send(group.iter().map(|note| note.0).collect()).unwrap();
            app.may.acquire().await.unwrap().forget();
            if app.gone {
                return Err(Fault::Store(StoreError::Conflict { attempts: 1 }));
            }
            if group.iter().any(|note| app.bad.contains(&note.0)) {
                return Err(Fault::Bad);
            }
            Ok(group.iter().map(|note| Ok(note.0)).collect())
        }
    }

    fn desk(bad: &[u32], gone: bool) -> (Arc<Desk>, mpsc::UnboundedReceiver<Vec<u32>>) {
        let (begun, groups) = mpsc::unbounded_channel();
        let (together, may) = (Together::default(), Semaphore::new(0));
        (Arc::new(Desk { together, begun, may, bad: bad.to_vec(), gone }), groups)
    }

    type Asked<'a> = Pin<Box<dyn Future<Output = Outcome<Note>> + 'a>>;

    /// Asks for each of `notes`, one after the other, once both turns are taken by the notes 100 and 101.
    async fn ask_all<'a>(
        desk: &'a Arc<Desk>,
        groups: &mut mpsc::UnboundedReceiver<Vec<u32>>,
        notes: &[u32],
    ) -> Vec<Asked<'a>> {
        let mut asked: Vec<Asked<'a>> = Vec::new();
        for note in [100, 101].iter().chain(notes).copied() {
            let mut one: Asked<'a> = Box::pin(ask(desk, Note(note)));
            assert!((&mut one).now_or_never().is_none());
            asked.push(one);
            if note >= 100 {
                assert_eq!(groups.recv().await.unwrap(), [note], "nobody waits for company");
            }
        }
        asked
    }

    fn rest(mut groups: mpsc::UnboundedReceiver<Vec<u32>>) -> Vec<Vec<u32>> {
        let mut rest = Vec::new();
        while let Ok(group) = groups.try_recv() {
            rest.push(group);
        }
        rest
    }

    #[tokio::test]
    async fn who_comes_meanwhile_shares_the_next_one_and_the_same_twice_does_not() {
        let (desk, mut groups) = desk(&[], false);
        let mut asked = ask_all(&desk, &mut groups, &[1, 2, 3, 2, 4]).await;
        // Whoever hangs up takes nobody along.
        drop(asked.remove(3));
        desk.may.add_permits(10);
        let done: Vec<_> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(done, [100, 101, 1, 3, 2, 4]);
        assert_eq!(rest(groups), [vec![1, 2, 3], vec![2, 4]]);
    }

    #[tokio::test]
    async fn one_that_fails_takes_nobody_along() {
        let (desk, mut groups) = desk(&[2], false);
        let asked = ask_all(&desk, &mut groups, &[1, 2, 3]).await;
        desk.may.add_permits(10);
        let done = join_all(asked).await.into_iter();
        let done: Vec<_> = done.map(|one| one.map_err(|fault| matches!(fault, Fault::Bad))).collect();
        assert_eq!(done, [Ok(100), Ok(101), Ok(1), Err(true), Ok(3)]);
        assert_eq!(rest(groups), [vec![1, 2, 3], vec![1], vec![2], vec![3]]);
    }

    #[tokio::test]
    async fn a_database_that_is_gone_is_asked_once() {
        let (desk, mut groups) = desk(&[], true);
        let asked = ask_all(&desk, &mut groups, &[1, 2, 3]).await;
        desk.may.add_permits(10);
        for one in join_all(asked).await {
            let fault = one.unwrap_err();
            assert!(
                matches!(&fault, Fault::Store(_))
                    || matches!(&fault, Fault::OfAll(of) if of.store().is_some())
            );
        }
        assert_eq!(rest(groups), [vec![1, 2, 3]]);
    }
}
