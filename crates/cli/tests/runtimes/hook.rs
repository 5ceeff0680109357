//! `bulkhead hook` as createRuntime and poststop hook of the real runc, and `netavark-bulkhead` by its protocol.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::server::{Reached, probe_tcp};
use testkit::{Finished, Namespace, root_or_return, run_with_deadline};

use crate::cni::{DB, Plugged};
use crate::docker::find;
use crate::podman::are_there;
use crate::stage::{SILENCE, at};

const COMMAND: Duration = Duration::from_mins(1);

/// A hook of `config.json`.
fn hook(plugged: &Plugged) -> Value {
    let run = plugged.stage.bulkhead.folders().run.display().to_string();
    let binary = testkit::bulkhead::binary().expect("the binary");
    json!([{
        "path": binary,
        "args": ["bulkhead", "--run-dir", run, "hook", "--network", "t/pods", "--label", "site=a"],
        "timeout": 60,
    }])
}

#[test]
fn containers_of_runc_are_workloads_by_a_hook_root() {
    const NAME: &str = "containers_of_runc_are_workloads_by_a_hook_root";
    root_or_return!(NAME);
    if !are_there(NAME, &["runc", "busybox"]) {
        return;
    }
    let plugged = Plugged::new();
    let dir = plugged.stage.lab.dir().to_owned();
    let bundle = dir.join("bundle");
    std::fs::create_dir_all(bundle.join("rootfs/bin")).expect("a bundle");
    std::fs::copy(find("busybox").expect("it"), bundle.join("rootfs/bin/busybox")).expect("copied");
    for applet in ["sh", "nc", "ip"] {
        std::os::unix::fs::symlink("busybox", bundle.join("rootfs/bin").join(applet)).expect("it");
    }
    let runc = |argv: &[&str]| -> Finished {
        let (root, bundle) = (dir.join("runc"), bundle.clone());
        let done = plugged.stage.host.run(|| {
            let mut command = Command::new(find("runc").expect("there is runc"));
            command.current_dir(&bundle).arg("--root").arg(&root).args(argv);
            run_with_deadline(&mut command, None, COMMAND)
        });
        done.expect("entered").expect("it ran")
    };
    assert_eq!(runc(&["spec"]).code(), Some(0));
    let at_config = bundle.join("config.json");
    let text = std::fs::read_to_string(&at_config).expect("a config");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    config["process"]["terminal"] = false.into();
    config["process"].as_object_mut().expect("an object").remove("rlimits");
    let script = format!(
        "echo hello | nc -w 2 {DB} 22; echo hello | nc -w 2 {DB} 6379; ip -4 addr show dev eth0"
    );
    config["process"]["args"] = json!(["sh", "-c", script]);
    config["annotations"] = json!({ "bulkhead/labels": "app=web,site=b", "bulkhead/name": "web" });
    config["hooks"] = json!({ "createRuntime": hook(&plugged), "poststop": hook(&plugged) });
    config["linux"]["cgroupsPath"] = format!("/{}", plugged.stage.lab.prefix()).into();
    std::fs::write(&at_config, config.to_string()).expect("written");
    let name = format!("{}-web", plugged.stage.lab.prefix());
    let done = runc(&["run", &name]);
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert!(done.stdout.contains("hello") && done.stdout.contains("10.88.7."), "{done:?}");
    assert_eq!((plugged.closed.accepted(), plugged.allowed.accepted()), (0, 1));
    plugged.is_empty();

    // What cannot be attached does not run.
    config["annotations"] = json!({ "bulkhead/labels": "app" });
    std::fs::write(&at_config, config.to_string()).expect("written");
    let refused = runc(&["run", &name]);
    assert_ne!(refused.code(), Some(0));
    assert_eq!(plugged.allowed.accepted(), 1, "it did not run");
    println!(
        "runtime runc hook: allowed passes, the rest is dropped from the first packet on, poststop leaves nothing, what cannot be \
         attached does not start; no program of the container runs before its policy"
    );
}

#[test]
fn netavark_calls_its_plugin_root() {
    root_or_return!("netavark_calls_its_plugin_root");
    let mut plugged = Plugged::new();
    let (pod, _) = plugged.stage.adopted("pod");
    let plugin = plugged.stage.lab.dir().join("netavark-bulkhead");
    std::os::unix::fs::symlink(testkit::bulkhead::binary().expect("it"), &plugin).expect("linked");
    let run = plugged.stage.bulkhead.folders().run.clone();
    let call = |argv: &[&str], message: &Value| {
        let mut command = Command::new(&plugin);
        command.env("BULKHEAD_RUN_DIR", &run).args(argv);
        let text = message.to_string();
        run_with_deadline(&mut command, Some(text.as_bytes()), COMMAND).expect("it ran")
    };
    let answer = |done: &Finished| -> Value {
        assert_eq!(done.code(), Some(0), "{done:?}");
        serde_json::from_str(&done.stdout).unwrap_or_default()
    };
    assert_eq!(answer(&call(&["info"], &json!({})))["api_version"], "1.0.0");
    let network = json!({
        "name": "pods", "id": "2f25", "driver": "netavark-bulkhead", "network_interface": "", "subnets": [], "dns_enabled": true,
        "options": { "tenant": "t", "network": "pods", "labels": "app=web" },
    });
    let made = answer(&call(&["create"], &network));
    let netns = pod.path().display().to_string();
    let message = json!({
        "container_id": "4f1c", "container_name": "web", "port_mappings": null, "network": made,
        "network_options": { "interface_name": "eth0", "static_ips": ["10.88.7.77"], "aliases": null },
    });
    let status = answer(&call(&["setup", &netns], &message));
    assert_eq!(status["interfaces"]["eth0"]["subnets"][0]["ipnet"], "10.88.7.77/24");
    let asks = |pod: &Namespace, port: u16| {
        probe_tcp(pod, at(&format!("{DB}:{port}")), SILENCE).expect("it ran")
    };
    assert_eq!(asks(&pod, 6379), Reached::Answered);
    assert_ne!(asks(&pod, 22), Reached::Answered);
    for _ in 0..2 {
        assert_eq!(call(&["teardown", &netns], &message).code(), Some(0));
    }
    plugged.is_empty();
    let refused = call(&["setup", "/run/netns/there-is-none"], &message);
    let error: Value = serde_json::from_str(&refused.stdout).expect("JSON");
    assert!(refused.code() == Some(1) && error["error"].is_string(), "{refused:?}");
    println!(
        "runtime netavark plugin: create, setup, teardown and info of API 1.0.0, allowed passes, the rest is dropped"
    );
}
