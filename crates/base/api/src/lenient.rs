//! Documents that clients send are read as Go reads them: see [`oci::lenient`].

pub use oci::lenient::from_slice;
pub(crate) use oci::lenient::from_value;

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::from_slice;
    use crate::containers::CreateRequest;
    use crate::containers::UpdateRequest;
    use crate::networks;

    fn read<T: DeserializeOwned>(text: &str) -> T {
        from_slice(text.as_bytes()).unwrap()
    }

    #[test]
    fn names_of_fields_may_be_spelled_in_any_case() {
        let request: CreateRequest = read(
            r#"{"image":"busybox","CMD":["a"],"labels":{"image":"Kept","IMAGE":"too"},"healthcheck":{"test":["NONE"]},
                "hostconfig":{"restartpolicy":{"name":"always"},"memory":7,"autoremove":true,
                "portbindings":{"80/tcp":[{"hostip":"::1","hostport":"8080"}]}},
                "networkingconfig":{"endpointsconfig":{"Front":{"aliases":["web"]}}}}"#,
        );
        assert_eq!(
            (request.config.image.as_str(), request.config.cmd.as_slice()),
            ("busybox", &["a".into()][..])
        );
        assert_eq!(request.config.labels.keys().collect::<Vec<_>>(), ["IMAGE", "image"]);
        assert_eq!(request.config.healthcheck.unwrap().test, ["NONE"]);
        let host = request.host_config.unwrap();
        assert_eq!((host.restart_policy.name.as_str(), host.resources.memory), ("always", 7));
        assert!(host.auto_remove);
        assert_eq!(host.port_bindings["80/tcp"].as_ref().unwrap()[0].host_ip, "::1");
        assert!(request.networking_config.unwrap().endpoints_config.contains_key("Front"));
        let update: UpdateRequest = read(r#"{"MEMORY":5,"restartPolicy":{"Name":"no"}}"#);
        assert_eq!((update.resources.memory, update.restart_policy.name.as_str()), (5, "no"));
    }

    #[test]
    fn the_exact_name_counts() {
        for text in [r#"{"image":"a","Image":"b","IMAGE":"c"}"#, r#"{"Image":"b","image":"a"}"#] {
            assert_eq!(read::<CreateRequest>(text).config.image, "b");
        }
    }

    #[test]
    fn null_is_zero_wherever_it_stands() {
        let request: CreateRequest =
            read(r#"{"Labels":{"a":null,"b":"c"},"Env":[null,"A=b"],"Tty":null,"HostConfig":null}"#);
        assert_eq!(request.config.labels["a"], "");
        assert_eq!(request.config.env, ["", "A=b"]);
        assert!(!request.config.tty && request.host_config.is_none());
        let network: networks::CreateRequest =
            read(r#"{"Name":"n","IPAM":{"Config":[null]},"Options":{"x":null}}"#);
        assert_eq!(network.options["x"], "");
        assert_eq!(network.ipam.unwrap().config.len(), 1);
    }

    #[test]
    fn what_is_of_another_type_is_an_error() {
        for text in [r#"{"image":5}"#, r#"{"hostconfig":"x"}"#, r#"{"Labels":{"a":{}}}"#, "7", "\"x\""] {
            assert!(from_slice::<CreateRequest>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
