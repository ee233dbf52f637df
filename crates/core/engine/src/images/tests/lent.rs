//! Images that are only lent: who keeps them, and that they go with the last one who holds them.

use std::sync::Arc;

use store::Lease;

use super::*;
use crate::builds::{Handout, Loan, give_back, hold};

/// Lends an image of nothing but this comment.
fn lend(engine: &Engine, lease: &Lease, comment: &str) -> Digest {
    let mut config = ImageConfig::new(&Platform::host());
    config.comment = comment.to_owned();
    engine.store().lend_image(lease, &config, Vec::new()).unwrap().image.digest
}

fn is_here(engine: &Engine, image: &Digest) -> bool {
    engine.db().read(|tx| state::images::get(tx, image)).unwrap().is_some()
}

/// What builds hand out, who found the image that another had made.
async fn two(engine: &Engine, comment: &str) -> (Digest, [Arc<Lease>; 2]) {
    let leases = [hold(engine).await.unwrap(), hold(engine).await.unwrap()];
    let [image, found] = [&leases[0], &leases[1]].map(|lease| lend(engine, lease, comment));
    assert_eq!(image, found);
    (image, leases)
}

#[tokio::test]
async fn the_last_who_lends_an_image_takes_it_away() {
    let (_dir, engine) = engine().await;
    let (image, leases) = two(&engine, "a").await;
    let [first, second] = leases.map(|lease| Loan::new(&engine, lease));
    prune(&engine, Filters::default()).await.unwrap();
    drop(first);
    assert!(is_here(&engine, &image));
    drop(second);
    // It ends on a thread of its own, and leaves nothing behind.
    until("nothing is left", || engine.store().blobs().unwrap().is_empty()).await;
    assert!(!is_here(&engine, &image));
    assert_eq!(engine.store().check(false).unwrap(), vec![]);
}

#[tokio::test]
async fn who_keeps_an_image_that_another_lends_has_it_afterwards() {
    let (_dir, engine) = engine().await;
    let (image, leases) = two(&engine, "named").await;
    let id = engine.store().resolve(image.as_str(), None).unwrap().id;
    tag(&engine, id.as_str(), "app", "1").await.unwrap();
    drop(leases);
    // Also when its name goes to something else.
    import_as(&engine, "app:1", &[("f", "x")], &[]).await;
    assert!(is_here(&engine, &image));

    let (image, leases) = two(&engine, "built").await;
    let manifest = store::NewImage::of(&image);
    engine.store().put_image(&manifest).unwrap();
    drop(leases);
    assert!(is_here(&engine, &image));

    let (image, [first, second]) = two(&engine, "kept").await;
    let loan = Loan::new(&engine, first);
    loan.keep(vec![image.clone()]).await.unwrap();
    drop((loan, second));
    assert!(is_here(&engine, &image));

    // A container has its image as long as it is there.
    let (image, leases) = two(&engine, "run").await;
    container(&engine, "c", image.as_str());
    drop(leases);
    assert!(is_here(&engine, &image));
    engine.db().write(|tx| state::containers::delete(tx, &"c".repeat(64))).unwrap();
    engine.store().gc().unwrap();
    assert!(!is_here(&engine, &image));
}

#[tokio::test]
async fn a_result_is_handed_out_until_its_client_says_so_or_goes() {
    let (_dir, engine) = engine().await;
    for is_said in [true, false] {
        let lease = hold(&engine).await.unwrap();
        let image = lend(&engine, &lease, "result");
        let mut handout = Handout::begin(&engine, "build1", lease);
        give_back(&engine, "another").await.unwrap();
        assert!(is_here(&engine, &image));
        match is_said {
            true => {
                give_back(&engine, "build1").await.unwrap();
                assert!(!is_here(&engine, &image) && engine.store().blobs().unwrap().is_empty());
                handout.given_back().await;
            }
            false => drop(handout),
        }
        until("the image is gone", || !is_here(&engine, &image)).await;
    }
}

#[tokio::test]
async fn what_a_killed_process_has_lent_goes_with_its_lease() {
    let (dir, engine) = engine().await;
    let lease = hold(&engine).await.unwrap();
    let image = lend(&engine, &lease, "result");
    // As the kernel leaves it: a file that nobody locks, with its row.
    let own = Arc::into_inner(lease).unwrap();
    let path = dir.path().join("root/leases").join(own.id());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    std::mem::forget(own);
    assert!(is_here(&engine, &image));
    prune(&engine, Filters::default()).await.unwrap();
    assert!(!is_here(&engine, &image) && engine.store().blobs().unwrap().is_empty());
    assert_eq!(engine.store().check(false).unwrap(), vec![]);
}
