//! SoftHSM2. It reads the place of its tokens from the environment when it is loaded, so each test runs in a process of
//! its own: the test starts itself again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use portal_core::id::{Id, RootId};
use portal_core::{SeededEntropy, Timestamp};
use portal_keys::KeysConfig;

use crate::contract::{self, CONTEXT, config, create, failure, new_key, open, write_secret};

const LIBRARIES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];
const DIRECTORY: &str = "PORTAL_TEST_TOKEN_DIRECTORY";
const PIN: &str = "24680";

/// A directory with the token `portal` in it.
struct TokenDirectory {
    path: PathBuf,
    library: &'static str,
}

impl TokenDirectory {
    fn util(&self, arguments: &[&str]) {
        let util = Command::new("softhsm2-util")
            .args(arguments)
            .env("SOFTHSM2_CONF", self.path.join("conf"))
            .stdout(Stdio::null())
            .status();
        assert!(util.unwrap().success(), "{arguments:?}");
    }

    fn init_token(&self, label: &str) {
        self.util(&["--init-token", "--free", "--label", label, "--so-pin", "13579", "--pin", PIN]);
    }

    fn config(&self) -> KeysConfig {
        config(&self.lines())
    }

    fn lines(&self) -> String {
        let (library, pin) = (self.library, self.pin_file());
        format!(
            "provider = 'pkcs11'\npkcs11_module = '{library}'\npkcs11_pin_file = {pin:?}\n\
             pkcs11_token_label = 'portal'\n"
        )
    }

    fn functions(&self) -> Pkcs11 {
        let functions = Pkcs11::new(self.library).unwrap();
        let _ = functions.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        functions
    }

    /// A session of its own, in which keys can be changed.
    fn admin(&self) -> Session {
        let functions = self.functions();
        let is_ours =
            |slot: &Slot| functions.get_token_info(*slot).is_ok_and(|info| info.label() == "portal");
        let slot = functions.get_slots_with_token().unwrap().into_iter().find(is_ours).unwrap();
        let session = functions.open_rw_session(slot).unwrap();
        let _ = session.login(UserType::User, Some(&AuthPin::from(PIN)));
        session
    }

    fn pin_file(&self) -> PathBuf {
        self.path.join("pin")
    }

    fn tokens(&self) -> PathBuf {
        self.path.join("tokens")
    }
}

/// What a root key is.
fn template() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Label(b"portal-root".to_vec()),
        Attribute::Id(RootId::generate(Timestamp::from_seconds(1), &SeededEntropy::new(1)).bytes().to_vec()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::ValueLen(32.into()),
    ]
}

fn prepare(path: &Path, library: &'static str) {
    let token = TokenDirectory { path: path.to_owned(), library };
    std::fs::create_dir(token.tokens()).unwrap();
    let tokens = token.tokens();
    let conf = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    std::fs::write(path.join("conf"), conf).unwrap();
    write_secret(&token.pin_file(), &format!("{PIN}\n"));
    token.init_token("portal");
}

/// Does `body` with a fresh token, in a process of its own. `test` is the name of the test that calls this.
fn on_a_token(test: &str, body: impl AsyncFnOnce(TokenDirectory)) {
    let library = LIBRARIES.into_iter().find(|library| Path::new(library).exists());
    let util = Command::new("softhsm2-util").arg("--version").stdout(Stdio::null()).status();
    let (Some(library), Ok(_)) = (library, util) else {
        crate::skip("softhsm2");
        return;
    };
    if let Some(path) = std::env::var_os(DIRECTORY) {
        let token = TokenDirectory { path: path.into(), library };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(body(token));
    }
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path(), library);
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DIRECTORY, directory.path())
        .env("SOFTHSM2_CONF", directory.path().join("conf"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success(), "{told}\n{}", String::from_utf8_lossy(&again.stderr));
    assert!(told.contains("1 passed"), "the test {test} was not found: {told}");
}

#[test]
fn it_is_a_provider() {
    on_a_token("pkcs11::it_is_a_provider", async |token| contract::holds(&token.config()).await);
}

#[test]
fn a_token_that_was_away_is_found_again() {
    on_a_token("pkcs11::a_token_that_was_away_is_found_again", async |token| {
        let (provider, neighbour) =
            (create(&token.config()).await.unwrap(), open(&token.config()).await.unwrap());
        let key = new_key();
        let wrapped = provider.wrap(&CONTEXT, &key).await.unwrap();
        let away = token.path.join("away");
        std::fs::rename(token.tokens(), &away).unwrap();
        for call in 0..2 {
            assert_eq!(failure(provider.unwrap(&CONTEXT, &wrapped).await), "unreachable", "call {call}");
            assert_eq!(failure(neighbour.wrap(&CONTEXT, &key).await), "unreachable", "call {call}");
        }
        let error = open(&token.config()).await.err().unwrap();
        assert!(error.is_retryable(), "{error}");
        // The library makes the directory anew when it misses it.
        let _ = std::fs::remove_dir_all(token.tokens());
        std::fs::rename(&away, token.tokens()).unwrap();
        assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
        assert!(neighbour.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
        drop(provider);
        assert!(
            neighbour.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key),
            "it has a session of its own"
        );
    });
}

#[test]
fn a_wrong_pin_is_tried_once() {
    on_a_token("pkcs11::a_wrong_pin_is_tried_once", async |token| {
        write_secret(&token.pin_file(), "11111");
        // The token would be locked for good by more tries than it allows.
        let errors = [open(&token.config()).await.err().unwrap()];
        assert_eq!(errors.map(|error| error.name()), ["denied"]);
        write_secret(&token.pin_file(), PIN);
        let provider = create(&token.config()).await.unwrap();
        let wrapped = provider.wrap(&CONTEXT, &new_key()).await.unwrap();
        // While it is connected, another PIN in the file changes nothing; the next log-in fails, and is not repeated.
        write_secret(&token.pin_file(), "11111");
        provider.unwrap(&CONTEXT, &wrapped).await.unwrap();
        let away = token.path.join("away");
        std::fs::rename(token.tokens(), &away).unwrap();
        assert_eq!(failure(provider.unwrap(&CONTEXT, &wrapped).await), "unreachable");
        let _ = std::fs::remove_dir_all(token.tokens());
        std::fs::rename(&away, token.tokens()).unwrap();
        let first = provider.unwrap(&CONTEXT, &wrapped).await.err().unwrap();
        let second = provider.unwrap(&CONTEXT, &wrapped).await.err().unwrap();
        let told = |error| std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        assert_eq!((first.name(), second.name()), ("denied", "denied"));
        assert!(!told(&first).contains("refused this PIN before"), "{}", told(&first));
        assert!(told(&second).contains("refused this PIN before"), "{}", told(&second));
        assert!(!format!("{first:?} {second:?}").contains("11111"));
        write_secret(&token.pin_file(), PIN);
        provider.unwrap(&CONTEXT, &wrapped).await.unwrap();
    });
}

#[test]
fn what_can_not_be_used_is_told_apart() {
    on_a_token("pkcs11::what_can_not_be_used_is_told_apart", async |token| {
        let other = |from: &str, to: &str| config(&token.lines().replace(from, to));
        assert_eq!(failure(open(&other(token.library, "/nonexistent.so")).await), "misconfigured");
        let not_pkcs11 = std::env::current_exe().unwrap();
        assert_eq!(failure(open(&other(token.library, not_pkcs11.to_str().unwrap())).await), "misconfigured");
        assert_eq!(failure(open(&other("'portal'", "'another'")).await), "unreachable");
        std::fs::set_permissions(token.pin_file(), std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .unwrap();
        assert_eq!(failure(open(&token.config()).await), "misconfigured");
        write_secret(&token.pin_file(), PIN);
        assert_eq!(failure(open(&token.config()).await), "key_missing");
    });
}

#[test]
fn one_label_names_one_token() {
    on_a_token("pkcs11::one_label_names_one_token", async |token| {
        token.init_token("portal");
        let told = open(&token.config()).await.err().unwrap().to_string();
        assert_eq!(told, "keys.pkcs11_token_label: two tokens have this label");
    });
}

#[test]
fn a_key_that_is_switched_off_is_disabled() {
    on_a_token("pkcs11::a_key_that_is_switched_off_is_disabled", async |token| {
        let provider = create(&token.config()).await.unwrap();
        let key = new_key();
        let wrapped = provider.wrap(&CONTEXT, &key).await.unwrap();
        let admin = token.admin();
        let object = admin.find_objects(&[Attribute::Label(b"portal-root".to_vec())]).unwrap()[0];
        admin.update_attributes(object, &[Attribute::Decrypt(false), Attribute::Encrypt(false)]).unwrap();
        assert_eq!(failure(provider.unwrap(&CONTEXT, &wrapped).await), "key_disabled");
        assert_eq!(failure(provider.wrap(&CONTEXT, &key).await), "key_disabled");
        admin.update_attributes(object, &[Attribute::Decrypt(true)]).unwrap();
        assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
        admin.destroy_object(object).unwrap();
        assert_eq!(failure(provider.unwrap(&CONTEXT, &wrapped).await), "key_missing");
        assert_eq!(failure(provider.wrap(&CONTEXT, &key).await), "key_missing");
    });
}

#[test]
fn a_root_key_that_could_leave_the_token_is_refused() {
    on_a_token("pkcs11::a_root_key_that_could_leave_the_token_is_refused", async |token| {
        let unfit = [
            (vec![Attribute::Extractable(true)], "must be sensitive and not extractable"),
            (vec![Attribute::Sensitive(false)], "must be sensitive and not extractable"),
            (vec![Attribute::ValueLen(16.into())], "must have 32 bytes"),
            (vec![Attribute::Id(b"root".to_vec())], "must be a UUID of version 7, 16 bytes"),
            (vec![Attribute::Id(vec![1; 16])], "must be a UUID of version 7, 16 bytes"),
        ];
        let admin = token.admin();
        for (change, expect) in unfit {
            let kind = |attribute: &Attribute| std::mem::discriminant(attribute);
            let mut template = template();
            template.retain(|attribute| kind(attribute) != kind(&change[0]));
            template.extend(change);
            let object = admin.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
            let told = open(&token.config()).await.err().unwrap().to_string();
            assert!(told.starts_with("keys.pkcs11_key_label: ") && told.ends_with(expect), "{told}");
            admin.destroy_object(object).unwrap();
        }
        admin.generate_key(&Mechanism::AesKeyGen, &template()).unwrap();
        open(&token.config()).await.unwrap();
        admin.generate_key(&Mechanism::AesKeyGen, &template()).unwrap();
        let told = open(&token.config()).await.err().unwrap().to_string();
        assert_eq!(told, "keys.pkcs11_key_label: two root keys have the same id");
    });
}

#[test]
fn a_login_that_was_lost_is_made_again() {
    on_a_token("pkcs11::a_login_that_was_lost_is_made_again", async |token| {
        let provider = create(&token.config()).await.unwrap();
        let wrapped = provider.wrap(&CONTEXT, &new_key()).await.unwrap();
        // A login is of the whole process, and so is logging out.
        token.admin().logout().unwrap();
        provider.unwrap(&CONTEXT, &wrapped).await.unwrap();
        // Others who finalise the library, for example as a provider does that looks for its token.
        token.functions().finalize().unwrap();
        provider.unwrap(&CONTEXT, &wrapped).await.unwrap();
    });
}

/// A library in front of the real one, whose searches hang as long as a file is there.
const SLOW: &str = r#"
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>
typedef unsigned long (*function)();
struct list { unsigned char version[2]; function functions[68]; };
static struct list slow;
static function search;
static unsigned long slow_search(unsigned long session, void *template, unsigned long count) {
    while (access(HANG, F_OK) == 0) usleep(1000);
    return search(session, template, count);
}
unsigned long C_GetFunctionList(struct list **out) {
    struct list *real;
    unsigned long (*get)(struct list **) = dlsym(dlopen(REAL, RTLD_NOW), "C_GetFunctionList");
    unsigned long result = get(&real);
    memcpy(&slow, real, sizeof slow);
    search = slow.functions[26];
    slow.functions[26] = (function)slow_search;
    *out = &slow;
    return result;
}
"#;

#[test]
fn a_token_that_hangs_is_answered_in_time() {
    on_a_token("pkcs11::a_token_that_hangs_is_answered_in_time", async |token| {
        let (source, library) = (token.path.join("slow.c"), token.path.join("slow.so"));
        std::fs::write(&source, SLOW).unwrap();
        let hang = token.path.join("hang");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-w", "-o"])
            .args([&library, &source])
            .arg(format!("-DHANG={hang:?}"))
            .arg(format!("-DREAL={:?}", token.library))
            .arg("-ldl")
            .status();
        assert!(compiled.unwrap().success());
        let lines = token.lines().replace(token.library, library.to_str().unwrap());
        let config = config(&format!("{lines}provider_timeout_seconds = 1"));
        let provider = create(&config).await.unwrap();
        let key = new_key();
        let wrapped = provider.wrap(&CONTEXT, &key).await.unwrap();
        std::fs::write(&hang, "").unwrap();
        assert_eq!(failure(provider.unwrap(&CONTEXT, &wrapped).await), "timed_out");
        assert_eq!(
            failure(provider.unwrap(&CONTEXT, &wrapped).await),
            "timed_out",
            "behind the one that hangs"
        );
        std::fs::remove_file(&hang).unwrap();
        assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
    });
}
