//! The service's own keys: imported, rotated, listed.

use portal_crypto::blind_index::IndexBits;
use portal_crypto::kdf::{Label, ServiceSecret};
use portal_keys::error::ImportProblem;
use portal_keys::{KeyState, KeyUse, Keys, KeysError, Purpose};
use serde_json::Value;

use crate::fixture::{Fixture, START, subject, until};

const OLD: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF\n";

fn pepper(keys: &Keys) -> Vec<u8> {
    keys.service_secret().derive(Label::PasswordPepper).expose().to_vec()
}

portal_testkit::each_database! {
    /// The secret of an earlier version is sealed once, and is the same without its file.
    async fn an_earlier_secret_is_taken_over(database) {
        let fixture = Fixture::new(database).await;
        let file = fixture.path("service-secret");
        let mut config = fixture.config.clone();
        config.import_service_secret_file = Some(file.clone());
        let refused = async |problem| {
            let error = fixture.try_open(&config).await.err().unwrap();
            assert!(matches!(&error, KeysError::Import { problem: told, .. } if *told == problem), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("0011"), "nothing of the file is told");
        };
        refused(ImportProblem::Unreadable).await;
        for bad in ["", "0011", &OLD.replace('a', "g"), &format!("{OLD}0")] {
            std::fs::write(&file, bad).unwrap();
            refused(ImportProblem::Malformed).await;
        }
        std::fs::write(&file, OLD).unwrap();
        let expected = ServiceSecret::from_hex(OLD).unwrap().derive(Label::PasswordPepper).expose().to_vec();
        let keys = fixture.try_open(&config).await.unwrap();
        assert_eq!(pepper(&keys), expected);
        keys.close().await;
        // It may stay configured, until it says something else.
        assert_eq!(pepper(&fixture.try_open(&config).await.unwrap()), expected);
        std::fs::write(&file, OLD.replace("00", "01")).unwrap();
        refused(ImportProblem::Differs).await;
        std::fs::remove_file(&file).unwrap();
        assert_eq!(pepper(&fixture.open().await), expected);
        let secret = hex(OLD.trim());
        let records = fixture.query("SELECT record FROM service_key", []).await;
        for record in records {
            let record: Vec<u8> = record.try_get("", "record").unwrap();
            assert!(!record.windows(8).any(|part| part == &secret[..8]));
        }
    }

    /// Each column has its own index keys, not derived from the service secret; a rotation is seen by all replicas, and a
    /// retired key can be destroyed.
    async fn index_keys_are_rotated(database) {
        let fixture = Fixture::new(database).await;
        let (keys, replica) = (fixture.open().await, fixture.open().await);
        let index = async |keys: &Keys, table, column| {
            let keys = keys.index_keys(table, column).await.unwrap();
            keys.all().map(|key| (key.generation(), key.index(b"anna", IndexBits::FULL))).collect::<Vec<_>>()
        };
        let first = index(&keys, "account", "email").await;
        assert_eq!(first.len(), 1);
        assert_eq!(index(&replica, "account", "email").await, first);
        assert_ne!(index(&keys, "account", "phone").await[0].1, first[0].1);
        assert_ne!(index(&keys, "person", "email").await[0].1, first[0].1);

        let early = keys.destroy_index_key("account", "email", (1, 0)).await;
        assert!(matches!(early, Err(KeysError::State { state: KeyState::Active, .. })));
        assert_eq!(keys.rotate_index_key("account", "email").await.unwrap(), 2);
        let both = index(&keys, "account", "email").await;
        assert_eq!(both.iter().map(|(generation, _)| *generation).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(both[1], first[0]);
        assert_ne!(both[0].1, both[1].1);
        until("the replica knows", || async { index(&replica, "account", "email").await == both }).await;
        assert_eq!(keys.replace_index_key("account", "email", 1).await.unwrap(), 2, "somebody was faster");
        assert_eq!(index(&keys, "account", "email").await, both);
        let used = keys.destroy_index_key("account", "email", (1, 7)).await;
        assert!(matches!(used, Err(KeysError::IndexInUse { rows: 7, .. })));
        keys.destroy_index_key("account", "email", (1, 0)).await.unwrap();
        assert_eq!(index(&keys, "account", "email").await, both[..1]);
        until("the replica knows", || async { index(&replica, "account", "email").await == both[..1] }).await;
        assert_eq!(index(&fixture.open().await, "account", "email").await, both[..1]);
        assert!(matches!(keys.destroy_index_key("account", "email", (1, 0)).await, Err(KeysError::State { .. })));
        assert!(matches!(keys.destroy_index_key("account", "email", (9, 0)).await, Err(KeysError::NoSuchKey(_))));
    }

    /// The inventory has every key with its state and times, and nothing else of them.
    async fn the_inventory_lists_every_key(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        keys.subjects_or_new(&[subject(1), subject(2)]).await.unwrap();
        keys.index_keys("account", "email").await.unwrap();
        let rotation = keys.rotate_epoch().await.unwrap();
        keys.subject_or_new(subject(3)).await.unwrap();
        let inventory = keys.inventory().await.unwrap();
        assert_eq!(inventory.taken, START);
        let of = |key_use| inventory.keys.iter().filter(move |key| key.key_use == key_use).collect::<Vec<_>>();
        let roots = of(KeyUse::Root);
        assert_eq!((roots.len(), roots[0].state, roots[0].wrapped), (1, KeyState::Active, 10));
        let epochs = of(KeyUse::Epoch);
        let by_id = |id: portal_core::id::EpochId| *epochs.iter().find(|key| key.id == id.to_string()).unwrap();
        let (active, retired) = (by_id(rotation.active), by_id(rotation.retired));
        assert_eq!((active.state, active.wrapped, active.retired), (KeyState::Active, 1, None));
        assert_eq!((retired.state, retired.wrapped, retired.retired), (KeyState::Retired, 2, Some(START)));
        for purpose in Purpose::ALL {
            let pair = matches!(purpose, Purpose::Ledger | Purpose::Statement);
            let expected = if pair { 2 } else { 1 };
            assert_eq!(of(KeyUse::Service(purpose)).len(), expected, "{purpose:?}");
        }
        let index = of(KeyUse::Service(Purpose::BlindIndex))[0];
        assert_eq!(index.id, "blind-index/account.email/1");
        assert_eq!(index.root.map(|root| root.to_string()), Some(roots[0].id.clone()));

        let document: Value = serde_json::from_str(&inventory.to_cyclonedx()).unwrap();
        assert_eq!((&document["bomFormat"], &document["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
        let components = document["components"].as_array().unwrap();
        let references: Vec<_> = components.iter().map(|part| part["bom-ref"].as_str().unwrap()).collect();
        for key in &inventory.keys {
            assert!(references.contains(&format!("key/{}", key.id).as_str()));
        }
        let used = components.iter().filter_map(|part| {
            part["cryptoProperties"]["relatedCryptoMaterialProperties"]["algorithmRef"].as_str()
        });
        assert_eq!(used.clone().count(), inventory.keys.len());
        for reference in used {
            assert!(references.contains(&reference), "{reference} is described");
        }
        #[expect(clippy::disallowed_methods, reason = "a file for a validator, if somebody wants one")]
        if let Ok(path) = std::env::var("PORTAL_CBOM") {
            std::fs::write(path, inventory.to_cyclonedx()).unwrap();
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}
