//! What is told of how an image was made.

use crate::fixture::Fixture;
use builder::Provenance;
use serde_json::{Value, json};

#[test]
fn steps_are_told_with_what_goes_into_them() {
    let f = Fixture::new();
    let file = "FROM base AS one\nARG HTTP_PROXY\nARG V=1\n\
        RUN --mount=type=secret,id=a --mount=type=secret,id=b,required=true \\\n  --mount=type=ssh true\n\
        FROM base\nCOPY --from=one /etc/passwd /p\n\
        COPY --chown=root:7 --chmod=640 Dockerfile /d\n";
    let told = |how: Provenance| {
        let outcome = f.build_with(file, |request| {
            request.secrets.insert("b".into(), b"hidden-word".to_vec());
            request.build_args.insert("HTTP_PROXY".into(), "http://me:hidden-word@proxy".into());
            request.export.told_provenance = Some(how);
        });
        outcome.result().images[0].provenance.clone().unwrap()
    };
    let all = told(Provenance::Max);
    assert!(!all.to_string().contains("hidden-word"));
    let definition = &all["buildDefinition"];
    let request = &definition["externalParameters"]["request"];
    assert_eq!(
        request["secrets"],
        json!([{ "id": "a", "optional": true }, { "id": "b", "optional": false }])
    );
    assert_eq!(request["ssh"], json!([{ "id": "default", "optional": true }]));
    let steps = definition["internalParameters"]["buildConfig"]["llbDefinition"].as_array().unwrap();
    let source = |step: usize| &steps[step]["op"]["Op"]["source"]["identifier"];
    let digest = definition["resolvedDependencies"][0]["digest"]["sha256"].as_str().unwrap();
    assert_eq!(source(0), &json!(format!("docker-image://docker.io/library/base:latest@sha256:{digest}")));
    assert_eq!(source(1), &json!("local://context"));
    // Whoever reads this asks which member there is.
    let kinds = |step: &Value| step["op"]["Op"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let kinds: Vec<_> = steps.iter().map(kinds).collect();
    assert_eq!(kinds, [["source"], ["source"], ["exec"], ["file"], ["file"]]);
    let copy = &steps[4]["op"]["Op"]["file"]["actions"][0]["Action"]["copy"];
    assert_eq!(
        (&copy["src"], &copy["dest"], &copy["mode"]),
        (&json!("Dockerfile"), &json!("/d"), &json!(0o640))
    );
    let root = json!({ "User": { "byName": { "name": "root", "input": 0 } } });
    assert_eq!(copy["owner"], json!({ "user": root, "group": { "User": { "byId": 7 } } }));
    let ids: Vec<&Value> = steps.iter().map(|step| &step["id"]).collect();
    assert_eq!(ids, ["step0", "step1", "step2", "step3", "step4"]);
    let inputs = |step: usize| &steps[step]["inputs"];
    assert_eq!(inputs(2), &json!(["step0:0"]));
    assert_eq!(inputs(3), &json!(["step0:0", "step2:0"]));
    assert_eq!(inputs(4), &json!(["step3:0", "step1:0"]));
    let exec = &steps[2]["op"]["Op"]["exec"];
    assert_eq!(
        exec["mounts"][2]["secretOpt"],
        json!({ "ID": "b", "optional": false, "uid": 0, "gid": 0, "mode": 0o400 })
    );
    assert_eq!(exec["mounts"][2]["dest"], "/run/secrets/b");
    assert!(exec["meta"]["env"].as_array().unwrap().contains(&json!("V=1")));
    assert_eq!(steps[2]["op"]["platform"]["OS"], "linux");
    let metadata = &all["runDetails"]["metadata"]["buildkit_metadata"];
    let ranges = &metadata["source"]["locations"]["step2"]["locations"][0]["ranges"];
    let line = |line: u32| json!({ "start": { "line": line }, "end": { "line": line } });
    assert_eq!(ranges, &json!([line(4), line(5)]));
    assert_eq!(metadata["source"]["locations"]["step1"]["locations"], json!([]));
    let from = &metadata["source"]["infos"][0]["llbDefinition"];
    assert_eq!(from[0]["op"]["Op"]["source"]["identifier"], "local://dockerfile");
    assert_eq!(from[1]["inputs"], json!(["step0:0"]));
    let layers = metadata["layers"].as_object().unwrap();
    let count = |step: &str| layers[step][0].as_array().unwrap().len();
    assert_eq!((layers.len(), count("step0:0"), count("step3:0"), count("step4:0")), (3, 1, 2, 3));
    let few = told(Provenance::Min);
    let request = &few["buildDefinition"]["externalParameters"]["request"];
    assert!(request.get("secrets").is_none() && request.get("ssh").is_none());
}
