//! Passwords are hashed on a bounded number of threads, and a bounded number of callers may wait for one.
//!
//! Each hash takes a core and 19 MiB for tens of milliseconds: as many run as there are cores, so that neither the
//! memory nor the time of other calls is at the mercy of who signs in.

use std::num::NonZeroUsize;
use std::sync::Arc;

use portal_core::{Entropy, Sensitive};
use portal_crypto::kdf::ServiceSecret;
use portal_crypto::password::{PasswordError, PasswordHash, PasswordHasher};
use tokio::sync::Semaphore;

use super::attempts::Attempt;
use crate::config::PasswordRules;
use crate::domain::{NewPassword, OfferedPassword, Profile, Strength};
use crate::error::Error;

/// Callers that may wait per core: about as many as are served in two seconds.
const WAITING_PER_CORE: usize = 64;

/// What a password is found to be.
#[derive(Debug)]
pub enum Verdict {
    /// Somebody else's, or nobody's.
    Wrong,
    /// The right one; with the hash that is to take the place of the stored one, if that was made at another cost.
    Right(Option<PasswordHash>),
}

/// The threads that hash.
pub struct PasswordPool {
    hasher: PasswordHasher,
    /// Of new passwords.
    least: Strength,
    entropy: Arc<dyn Entropy>,
    /// A place for everybody who is served or waits.
    places: Arc<Semaphore>,
    cores: Arc<Semaphore>,
}

impl PasswordPool {
    /// A pool as large as the machine, with the pepper of `secret`.
    #[must_use]
    pub fn new(secret: &ServiceSecret, rules: PasswordRules, entropy: Arc<dyn Entropy>) -> Self {
        let hasher = PasswordHasher::new(secret, rules.cost);
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { least: rules.least, ..Self::with_size(hasher, entropy, cores, cores * WAITING_PER_CORE) }
    }

    fn with_size(hasher: PasswordHasher, entropy: Arc<dyn Entropy>, cores: usize, waiting: usize) -> Self {
        let (places, cores) = (Arc::new(Semaphore::new(cores + waiting)), Arc::new(Semaphore::new(cores)));
        Self { hasher, least: Strength::DEFAULT, entropy, places, cores }
    }

    /// Hashes a new password of somebody with `profile`.
    ///
    /// # Errors
    /// [`Error::WeakPassword`] if it is easy to guess; [`Error::TooManyPasswords`] if too many wait.
    pub async fn hash(
        &self,
        _: Attempt,
        password: NewPassword,
        profile: &Profile,
    ) -> Result<PasswordHash, Error> {
        let (hasher, entropy) = (self.hasher.clone(), Arc::clone(&self.entropy));
        let (profile, least) = (profile.clone(), self.least);
        self.run(move || {
            let password = password.strong(&profile.words(), least)?;
            Ok(hasher.hash(&password.into_bytes(), entropy.as_ref())?)
        })
        .await
    }

    /// Whether `password` is the one of `stored`; `None` takes as long and says no. A right one is hashed anew if `stored`
    /// was made at another cost than new hashes are.
    ///
    /// # Errors
    /// [`Error::TooManyPasswords`] if too many wait.
    pub async fn verify(
        &self,
        _: Attempt,
        password: OfferedPassword,
        stored: Option<PasswordHash>,
    ) -> Result<Verdict, Error> {
        let (hasher, entropy) = (self.hasher.clone(), Arc::clone(&self.entropy));
        let verify = move |password: &Sensitive<Vec<u8>>| -> Result<Verdict, PasswordError> {
            let right = hasher.verify(password, stored.as_ref())?;
            let Some(stored) = stored.filter(|_| right) else { return Ok(Verdict::Wrong) };
            let stale = hasher.needs_rehash(&stored);
            let renewed = stale.then(|| hasher.hash(password, entropy.as_ref())).transpose()?;
            Ok(Verdict::Right(renewed))
        };
        self.run(move || Ok(verify(&password.into_bytes())?)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Error::TooManyPasswords)?;
        // The semaphore is never closed.
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| Error::TooManyPasswords)?;
        let hashed = tokio::task::spawn_blocking(move || {
            let result = work();
            // Not before: a caller that went away still has its hash running.
            drop((core, place));
            result
        });
        hashed.await.map_err(Error::HashingStopped)?
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use futures_util::FutureExt;
    use portal_core::SeededEntropy;
    use portal_crypto::kdf::ServiceSecret;
    use portal_crypto::password::Cost;

    use super::*;
    use crate::domain::{DisplayName, Email};

    const fn attempt() -> Attempt {
        Attempt::of_service()
    }

    #[tokio::test]
    async fn who_comes_when_too_many_wait_is_turned_away_at_once() {
        let hasher = PasswordHasher::new(&ServiceSecret::new(&[1; 32]), Cost::new(64, 1, 1).unwrap());
        let pool = Arc::new(PasswordPool::with_size(hasher, Arc::new(SeededEntropy::new(1)), 1, 1));
        let core = Arc::clone(&pool.cores).acquire_owned().await.unwrap();
        let password = || OfferedPassword::parse("correct horse".to_owned()).unwrap();

        let mut served = Box::pin(pool.verify(attempt(), password(), None));
        let mut waits = Box::pin(pool.verify(attempt(), password(), None));
        assert!((&mut served).now_or_never().is_none());
        assert!((&mut waits).now_or_never().is_none());
        assert!(matches!(pool.verify(attempt(), password(), None).await, Err(Error::TooManyPasswords)));

        drop(core);
        for verdict in [served.await, waits.await, pool.verify(attempt(), password(), None).await] {
            assert!(matches!(verdict.unwrap(), Verdict::Wrong));
        }
    }

    #[tokio::test]
    async fn what_was_hashed_at_another_cost_is_hashed_anew() {
        let pool = |passes| {
            let hasher =
                PasswordHasher::new(&ServiceSecret::new(&[1; 32]), Cost::new(64, passes, 1).unwrap());
            PasswordPool::with_size(hasher, Arc::new(SeededEntropy::new(1)), 1, 1)
        };
        let [before, now] = [pool(1), pool(2)];
        let offered = |text: &str| OfferedPassword::parse(text.to_owned()).unwrap();
        let profile = Profile {
            email: Email::parse("anna@example.org").unwrap(),
            display_name: DisplayName::new("Anna".to_owned()),
        };
        let password = NewPassword::parse("correct horse".to_owned()).unwrap();
        let stored = before.hash(attempt(), password, &profile).await.unwrap();
        let wrong = now.verify(attempt(), offered("correct house"), Some(stored.clone())).await.unwrap();
        assert!(matches!(wrong, Verdict::Wrong));
        let right = now.verify(attempt(), offered("correct horse"), Some(stored.clone())).await.unwrap();
        let Verdict::Right(Some(renewed)) = right else { panic!("{right:?}") };
        assert!(renewed.as_str().contains("t=2") && stored.as_str().contains("t=1"));
        let again = now.verify(attempt(), offered("correct horse"), Some(renewed)).await.unwrap();
        assert!(matches!(again, Verdict::Right(None)));
    }
}
