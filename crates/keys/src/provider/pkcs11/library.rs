//! A token's shared library, and a provider's session to its token.
//!
//! PKCS#11 is one state for the whole process: a library is initialised once, and is finalised with all sessions of
//! everybody. So there is one [`Library`] for each path, never unloaded, and its gate lets one call in at a time. A
//! token that was taken out and put back is found by many libraries only after they are finalised and initialised
//! again; that is done here, behind the gate, and makes a new generation: sessions of the one before are forgotten,
//! not closed, as their numbers may belong to others by now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::RawAuthPin;

use super::{Settings, meaning};
use crate::provider::blocking::Gate;
use crate::provider::secret_file::{self, Access};
use crate::provider::{Cause, ProviderError};

/// Whether a call changes what is on the token.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Write {
    No,
    Yes,
}

/// Why a call did not succeed: the token, or what we made of its answer.
pub(super) enum Failure {
    Token(Error),
    Provider(ProviderError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Token(error)
    }
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error)
    }
}

impl From<Failure> for ProviderError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Token(error) => meaning(error),
            Failure::Provider(error) => error,
        }
    }
}

/// A library, loaded at its first use.
struct Library {
    path: PathBuf,
    gate: Gate,
    state: Mutex<State>,
}

struct State {
    functions: Option<Pkcs11>,
    generation: u64,
}

/// The library at `path`: the same for all who ask.
fn library(path: &Path) -> Arc<Library> {
    static LOADED: Mutex<BTreeMap<PathBuf, Arc<Library>>> = Mutex::new(BTreeMap::new());
    let mut loaded = lock(&LOADED);
    let new = || {
        let state = Mutex::new(State { functions: None, generation: 0 });
        Arc::new(Library { path: path.to_owned(), gate: Gate::new(), state })
    };
    Arc::clone(loaded.entry(path.to_owned()).or_insert_with(new))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn functions(&mut self, path: &Path) -> Result<Pkcs11, Error> {
        if let Some(functions) = &self.functions {
            return Ok(functions.clone());
        }
        let functions = Pkcs11::new(path)?;
        initialize(&functions)?;
        self.functions = Some(functions.clone());
        Ok(functions)
    }

    /// Makes the library look for tokens anew. Every session to it is gone then.
    fn restart(&mut self, functions: &Pkcs11) -> Result<(), Error> {
        self.generation += 1;
        match functions.clone().finalize() {
            Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) | Ok(()) => initialize(functions),
            Err(error) => Err(error),
        }
    }
}

fn initialize(functions: &Pkcs11) -> Result<(), Error> {
    match functions.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        outcome => outcome,
    }
}

/// A provider's way to its token: connected when it is needed, and again when it was lost.
pub(super) struct Connection {
    settings: Settings,
    library: Arc<Library>,
    open: Mutex<Option<Open>>,
    /// When the PIN file was written whose PIN the token has refused: trying it again would lock the token.
    refused_pin: Mutex<Option<SystemTime>>,
}

struct Open {
    generation: u64,
    slot: Slot,
    /// Not closed when it is dropped: see above.
    session: Session,
}

impl Connection {
    pub(super) fn new(settings: Settings) -> Self {
        let library = library(&settings.module);
        Self { settings, library, open: Mutex::default(), refused_pin: Mutex::default() }
    }

    /// Lets one call at a time to this library.
    pub(super) fn gate(&self) -> &Gate {
        &self.library.gate
    }

    /// Does `work` in a session that is logged in. If it fails and the token, the session or the login turns out to be
    /// gone, connects anew and does it once more.
    pub(super) fn call<T>(
        &self,
        write: Write,
        work: impl Fn(&Session) -> Result<T, Failure>,
    ) -> Result<T, ProviderError> {
        let mut state = lock(&self.library.state);
        let functions = state.functions(&self.library.path).map_err(meaning)?;
        let mut open = lock(&self.open);
        if let Some(connected) = open.as_ref().filter(|open| open.generation == state.generation) {
            match attempt(&functions, connected, write, &work) {
                Err(_) if !self.is_alive(&functions, connected) => {}
                outcome => return Ok(outcome?),
            }
        }
        *open = None;
        let connected = open.insert(self.connect(&mut state, &functions)?);
        Ok(attempt(&functions, connected, write, &work)?)
    }

    /// Whether the token is there and the session still logged in.
    fn is_alive(&self, functions: &Pkcs11, open: &Open) -> bool {
        let is_ours = |info: cryptoki::slot::TokenInfo| info.label() == self.settings.token_label;
        let logged_in = |state: SessionState| matches!(state, SessionState::RoUser | SessionState::RwUser);
        functions.get_token_info(open.slot).is_ok_and(is_ours)
            && open.session.get_session_info().is_ok_and(|info| logged_in(info.session_state()))
    }

    fn connect(&self, state: &mut State, functions: &Pkcs11) -> Result<Open, ProviderError> {
        let slot = match self.slot(functions) {
            Ok(slot) => slot,
            Err(error @ ProviderError::Misconfigured { .. }) => return Err(error),
            Err(_) => {
                state.restart(functions).map_err(meaning)?;
                self.slot(functions)?
            }
        };
        let session = functions.open_ro_session_no_drop(slot).map_err(meaning)?;
        if let Err(error) = self.log_in(&session) {
            // It can't be used, closed or not.
            let _ = session.close();
            return Err(error);
        }
        Ok(Open { generation: state.generation, slot, session })
    }

    /// The slot of the token with our label.
    fn slot(&self, functions: &Pkcs11) -> Result<Slot, ProviderError> {
        let slots = functions.get_slots_with_token().map_err(meaning)?;
        let is_ours = |slot: &Slot| {
            functions.get_token_info(*slot).is_ok_and(|info| info.label() == self.settings.token_label)
        };
        let ours: Vec<Slot> = slots.into_iter().filter(is_ours).collect();
        match ours.as_slice() {
            [] => Err(ProviderError::Unreachable {
                cause: Some(Cause::NoToken(self.settings.token_label.clone())),
            }),
            [slot] => Ok(*slot),
            _ => Err(ProviderError::misconfigured("pkcs11_token_label", "two tokens have this label")),
        }
    }

    fn log_in(&self, session: &Session) -> Result<(), ProviderError> {
        let written = std::fs::metadata(&self.settings.pin_file).and_then(|file| file.modified()).ok();
        let mut refused = lock(&self.refused_pin);
        if written.is_some() && *refused == written {
            return Err(ProviderError::Denied { cause: Some(Cause::PinRefusedBefore) });
        }
        let pin = secret_file::first_line(&self.settings.pin_file, "pkcs11_pin_file", Access::Ours)?;
        let pin = RawAuthPin::new(Box::new(pin.to_vec()));
        match session.login_with_raw(UserType::User, &pin) {
            // By another session of this process: a login is of the whole process.
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) | Ok(()) => Ok(()),
            Err(error) => {
                if matches!(error, Error::Pkcs11(RvError::PinIncorrect | RvError::PinLocked, Function::Login))
                {
                    *refused = written;
                }
                Err(meaning(error))
            }
        }
    }
}

fn attempt<T>(
    functions: &Pkcs11,
    open: &Open,
    write: Write,
    work: impl Fn(&Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match write {
        Write::No => work(&open.session),
        // Closed when dropped, at once. The login holds for it too.
        Write::Yes => work(&functions.open_rw_session(open.slot)?),
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // If the library is busy, or hangs, the session is left to it.
        let Ok(state) = self.library.state.try_lock() else { return };
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(open) = open.filter(|open| open.generation == state.generation) {
            // Of no use any more, closed or not.
            let _ = open.session.close();
        }
    }
}
