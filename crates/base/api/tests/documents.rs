//! The documents' exact bytes: nulls, empty values and left-out fields are part of the format.

use api::containers::{self, CreateRequest, HostConfig};
use api::{JsonMessage, Progress, events, exec, images, networks, system, volumes};
use serde::Serialize;

fn json(document: &impl Serialize) -> String {
    serde_json::to_string(document).unwrap()
}

#[test]
fn host_config_of_a_plain_container() {
    assert_eq!(
        json(&HostConfig::default()),
        concat!(
            r#"{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"NetworkMode":"","#,
            r#""PortBindings":{},"RestartPolicy":{"Name":"","MaximumRetryCount":0},"AutoRemove":false,"#,
            r#""VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,"CapDrop":null,"#,
            r#""CgroupnsMode":"","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"#,
            r#""IpcMode":"","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"#,
            r#""PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","#,
            r#""ShmSize":0,"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"","#,
            r#""BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],"BlkioDeviceWriteBps":[],"#,
            r#""BlkioDeviceReadIOps":[],"BlkioDeviceWriteIOps":[],"CpuPeriod":0,"CpuQuota":0,"#,
            r#""CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":[],"#,
            r#""DeviceCgroupRules":null,"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,"#,
            r#""MemorySwappiness":null,"OomKillDisable":null,"PidsLimit":null,"Ulimits":[],"CpuCount":0,"#,
            r#""CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":null,"ReadonlyPaths":null}"#,
        )
    );
}

#[test]
fn config_of_a_plain_container() {
    assert_eq!(
        json(&containers::Config::default()),
        concat!(
            r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"#,
            r#""AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":[],"Cmd":null,"#,
            r#""Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{}}"#,
        )
    );
}

#[test]
fn network_documents() {
    assert_eq!(
        json(&networks::EndpointSettings::default()),
        concat!(
            r#"{"IPAMConfig":null,"Links":null,"Aliases":null,"MacAddress":"","DriverOpts":null,"GwPriority":0,"#,
            r#""NetworkID":"","EndpointID":"","Gateway":"","IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","#,
            r#""GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"DNSNames":null}"#,
        )
    );
    assert_eq!(
        json(&networks::Network::default()),
        concat!(
            r#"{"Name":"","Id":"","Created":"","Scope":"","Driver":"","EnableIPv4":false,"EnableIPv6":false,"#,
            r#""IPAM":{"Driver":"","Options":null,"Config":[]},"Internal":false,"Attachable":false,"#,
            r#""Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},"Options":{},"#,
            r#""Labels":{}}"#,
        )
    );
    assert_eq!(
        json(&containers::NetworkSettings::default()),
        concat!(
            r#"{"Bridge":"","SandboxID":"","SandboxKey":"","Ports":{},"HairpinMode":false,"#,
            r#""LinkLocalIPv6Address":"","LinkLocalIPv6PrefixLen":0,"SecondaryIPAddresses":null,"#,
            r#""SecondaryIPv6Addresses":null,"EndpointID":"","Gateway":"","GlobalIPv6Address":"","#,
            r#""GlobalIPv6PrefixLen":0,"IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","MacAddress":"","#,
            r#""Networks":{}}"#,
        )
    );
}

#[test]
fn short_documents() {
    assert_eq!(
        json(&volumes::Volume::default()),
        r#"{"Driver":"","Labels":null,"Mountpoint":"","Name":"","Options":null,"Scope":""}"#
    );
    assert_eq!(json(&volumes::ListResponse::default()), r#"{"Volumes":[],"Warnings":null}"#);
    assert_eq!(
        json(&images::Summary::default()),
        concat!(
            r#"{"Containers":0,"Created":0,"Id":"","Labels":null,"ParentId":"","RepoDigests":[],"RepoTags":[],"#,
            r#""SharedSize":0,"Size":0}"#,
        )
    );
    assert_eq!(json(&containers::WaitResponse::default()), r#"{"StatusCode":0}"#);
    assert_eq!(json(&containers::CreateResponse::default()), r#"{"Id":"","Warnings":[]}"#);
    assert_eq!(json(&containers::Change::default()), r#"{"Path":"","Kind":0}"#);
    assert_eq!(json(&exec::StartRequest::default()), r#"{"Detach":false,"Tty":false}"#);
    assert_eq!(
        json(&exec::Inspect::default()),
        concat!(
            r#"{"ID":"","Running":false,"ExitCode":null,"ProcessConfig":{"tty":false,"entrypoint":"","#,
            r#""arguments":[]},"OpenStdin":false,"OpenStderr":false,"OpenStdout":false,"CanRemove":false,"#,
            r#""ContainerID":"","DetachKeys":"","Pid":0}"#,
        )
    );
    assert_eq!(
        json(&system::Version::default()),
        r#"{"Platform":{"Name":""},"Version":"","ApiVersion":"","GitCommit":"","GoVersion":"","Os":"","Arch":""}"#
    );
}

#[test]
fn messages() {
    assert_eq!(
        json(&JsonMessage::part("abc", "Pulling fs layer", Progress::default())),
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"abc"}"#
    );
    assert_eq!(
        json(&JsonMessage::error(1, "no")),
        r#"{"errorDetail":{"code":1,"message":"no"},"error":"no"}"#
    );
    assert_eq!(json(&JsonMessage::stream("Step 1/1 : FROM a\n")), r#"{"stream":"Step 1/1 : FROM a\n"}"#);
    let event = events::EventMessage {
        typ: "container".into(),
        action: "start".into(),
        time: 1,
        time_nano: 1_000_000_002,
        scope: "local".into(),
        ..events::EventMessage::default()
    };
    assert_eq!(
        json(&event),
        concat!(
            r#"{"Type":"container","Action":"start","Actor":{"ID":"","Attributes":{}},"scope":"local","time":1,"#,
            r#""timeNano":1000000002}"#,
        )
    );
}

#[test]
fn odd_names_of_fields() {
    let info = json(&system::Info::default());
    for name in [
        "ID",
        "CpuCfsPeriod",
        "CPUShares",
        "CPUSet",
        "NFd",
        "NGoroutines",
        "NEventsListener",
        "OSType",
        "NCPU",
        "HttpProxy",
        "HttpsProxy",
        "CDISpecDirs",
        "IPv4Forwarding",
        "InsecureRegistryCIDRs",
        "LiveRestoreEnabled",
    ] {
        assert!(info.contains(&format!("\"{name}\":")), "{name} in {info}");
    }
    let inspect = json(&containers::Inspect::default());
    for name in ["ExecIDs", "AppArmorProfile", "OOMKilled", "ResolvConfPath", "StartedAt", "GraphDriver"] {
        assert!(inspect.contains(&format!("\"{name}\":")), "{name} in {inspect}");
    }
}

#[test]
fn create_request_of_a_lenient_client() {
    let request: CreateRequest = serde_json::from_str(
        r#"{"Image":"a","Cmd":"sh","Entrypoint":["x"],"Env":null,"Labels":null,"Volumes":{"/v":{},"/w":null},
            "ExposedPorts":{"80/tcp":{}},"Unknown":1,
            "Healthcheck":{"Test":["CMD","true"],"Interval":5,"Timeout":null,"Retries":null,"StartPeriod":null},
            "HostConfig":{"Memory":5,"PortBindings":{"80/tcp":[{"HostPort":"8080"}],"81/tcp":null},
                          "Init":true,"MaskedPaths":[],"Ulimits":[{"Name":"nofile","Soft":1,"Hard":2}]},
            "NetworkingConfig":{"EndpointsConfig":{"net":null}}}"#,
    )
    .unwrap();
    assert_eq!(request.config.cmd.as_slice(), ["sh"]);
    assert_eq!(request.config.entrypoint.as_slice(), ["x"]);
    assert!(request.config.volumes.contains("/v") && request.config.volumes.contains("/w"));
    let health = request.config.healthcheck.unwrap();
    assert_eq!((health.interval, health.timeout, health.retries), (5, 0, 0));
    let host = request.host_config.unwrap();
    assert_eq!(host.resources.memory, 5);
    assert_eq!(host.port_bindings["80/tcp"].as_ref().unwrap()[0].host_port, "8080");
    assert_eq!(host.port_bindings["81/tcp"], None);
    assert_eq!((host.init, host.masked_paths), (Some(true), Some(Vec::new())));
    assert_eq!(host.resources.ulimits[0].hard, 2);
    assert!(request.networking_config.unwrap().endpoints_config["net"].is_none());
}

#[test]
fn documents_read_back() {
    let request = CreateRequest {
        config: containers::Config { image: "a".into(), cmd: vec!["b".into()].into(), ..Default::default() },
        host_config: Some(HostConfig { network_mode: "host".into(), ..Default::default() }),
        networking_config: None,
    };
    assert_eq!(serde_json::from_str::<CreateRequest>(&json(&request)).unwrap(), request);
    let inspect = containers::Inspect { id: "x".into(), ..Default::default() };
    assert_eq!(serde_json::from_str::<containers::Inspect>(&json(&inspect)).unwrap(), inspect);
}

#[test]
fn wrong_types_are_errors() {
    for bad in [
        r#"{"Image":1}"#,
        r#"{"HostConfig":{"Memory":"a"}}"#,
        r#"{"HostConfig":{"Memory":1e400}}"#,
        r#"{"HostConfig":[]}"#,
        r#"{"Cmd":{}}"#,
        r#"[]x"#,
    ] {
        assert!(serde_json::from_str::<CreateRequest>(bad).is_err(), "{bad}");
    }
}
