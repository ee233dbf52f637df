//! What a policy converts is converted wherever a build names it.

use crate::fixture::{Fixture, text};
use builder::{Env, FetchRequest, Fetched};
use std::io::Cursor;
use std::sync::Arc;

const OLD: &str = "https://h/old";
const NEW: &str = "https://h/new";

/// Takes one file for another, which is all that there is.
fn env(f: &Fixture) -> Env {
    let mut env = f.env();
    env.policy = Some(Arc::new(|source| {
        let is_old = source.identifier == OLD;
        if is_old {
            source.identifier = NEW.to_owned();
        }
        Ok(is_old)
    }));
    env.fetch = Some(Arc::new(|request: &FetchRequest<'_>| match request.url {
        NEW => Ok(Fetched {
            unchanged: false,
            body: Box::new(Cursor::new(b"new".to_vec())),
            file_name: None,
            modified: Some(1_000_000_000),
            etag: None,
            last_modified: None,
        }),
        other => Err(format!("{other} is not to be fetched").into()),
    }));
    env
}

#[test]
fn the_second_build_of_a_verification_asks_too() {
    let f = Fixture::new();
    let outcome = f.build_in(&env(&f), &format!("FROM scratch\nADD {OLD} /x\n"), |r| {
        r.verify = true;
        r.source_date_epoch = Some(Some(1_700_000_000));
        r.rewrite_timestamp = true;
    });
    assert_eq!(text(&f.rootfs(outcome.ok()), "/x"), "new");
}

#[test]
fn sources_of_a_line_whose_comment_is_none_are_asked_for() {
    let f = Fixture::new();
    f.file("b", "b").file("#c", "c");
    let build = |dest: &str| {
        let outcome = f.build_in(&env(&f), &format!("FROM scratch\nADD {OLD} /b #c {dest}\n"), |_| {});
        f.rootfs(outcome.ok())
    };
    let root = build("/d/");
    assert_eq!(["/d/new", "/d/b", "/d/#c"].map(|path| text(&root, path)), ["new", "b", "c"]);
    let root = build("/e/");
    assert_eq!(text(&root, "/e/b"), "b", "another destination is another layer");
}
