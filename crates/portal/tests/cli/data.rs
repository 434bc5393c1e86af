//! `portal migrate data` on a new data directory, where everything is committed from the start.

use crate::harness::{Up, portal, run};
use rustix::process::Signal;

#[test]
fn a_new_installation_has_nothing_to_move() {
    let directory = tempfile::tempdir().unwrap();
    let up = Up::start(directory.path());
    for service in ["auth", "consent", "valuation"] {
        let migrate = |arguments: &[&str]| {
            run(portal()
                .args(["migrate", "data"])
                .args(arguments)
                .args(["--service", service, "--data-dir"])
                .arg(directory.path()))
        };
        let (code, status, stderr) = migrate(&["status"]);
        assert_eq!(code, 0, "{stderr}");
        let mut states = status.lines().skip(1).map(|line| line.split_ascii_whitespace().nth(1).unwrap());
        assert_eq!(states.next(), Some("committed"), "{service}: {status}");
        let name = status.lines().nth(1).unwrap().split_ascii_whitespace().next().unwrap().to_owned();
        let (code, stdout, stderr) = migrate(&["start", &name]);
        assert_eq!(code, 0, "what is done is skipped: {stderr}");
        assert!(stdout.contains("the migration is done"), "{stdout}");
        assert_eq!(migrate(&["commit", &name]).0, 0, "what is committed is skipped");
        for refused in ["pause", "rollback", "verify"] {
            let (code, _, stderr) = migrate(&[refused, &name]);
            assert_eq!(code, 1, "{refused}: {stderr}");
            assert!(stderr.contains(&name), "{stderr}");
        }
        assert_eq!(migrate(&["start", "d9999_nothing"]).0, 2);
    }
    assert_eq!(up.end(Signal::TERM).0, Some(0));
}
