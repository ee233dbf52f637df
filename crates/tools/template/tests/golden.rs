//! Templates against the text that Go's text/template makes of the same data.

use serde_json::{Value, json};
use template::{Options, Template, render};

fn container() -> Value {
    json!({
        "Id": "0123456789ab", "Name": "/web", "RestartCount": 2, "Rate": 0.5, "Big": 1e21, "Tiny": 0.00001,
        "State": {"Status": "running", "Running": true, "Pid": 42, "Error": "", "Health": null},
        "Args": ["-c", "sleep 1"], "Empty": [], "Null": null,
        "Config": {"Labels": {"com.example.a": "1", "b": "two"}, "Env": ["A=1", "B=2"]},
        "NetworkSettings": {"Networks": {
            "front": {"IPAddress": "172.18.0.2", "Aliases": ["web"]},
            "back": {"IPAddress": "172.19.0.2", "Aliases": null}}},
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": null}
    })
}

#[test]
fn output() {
    let cases: &[(&str, &str)] = &[
        ("plain", "plain"),
        ("{{.Name}}", "/web"),
        ("{{.ID}} {{.Id}}", "0123456789ab 0123456789ab"),
        ("{{.State.Status}}-{{.State.Pid}}", "running-42"),
        ("{{.Null}}|{{.State.Health}}", "<no value>|<no value>"),
        ("{{.Args}} {{.Empty}}", "[-c sleep 1] []"),
        ("{{.Config.Labels}}", "map[b:two com.example.a:1]"),
        ("{{.Config}}", "map[Env:[A=1 B=2] Labels:map[b:two com.example.a:1]]"),
        ("{{.State}}", "map[Error: Health:<nil> Pid:42 Running:true Status:running]"),
        ("{{.Rate}} {{.Big}} {{.Tiny}}", "0.5 1e+21 1e-05"),
        ("{{json .Args}}", r#"["-c","sleep 1"]"#),
        ("{{json .Name}}", r#""/web""#),
        ("{{.Args | json}}", r#"["-c","sleep 1"]"#),
        ("{{join .Args \", \"}}", "-c, sleep 1"),
        ("{{split \"a:b:c\" \":\"}}", "[a b c]"),
        ("{{index (split \"a:b:c\" \":\") 1}}", "b"),
        ("{{upper .Name}}{{lower \"ABC\"}}{{title \"hello big world\"}}", "/WEBabcHello Big World"),
        ("[{{pad \"x\" 1 2}}]{{pad \"\" 3 3}}", "[ x  ]"),
        ("{{truncate .Id 4}}", "0123"),
        ("{{println \"a\" 1}}", "a 1\n"),
        ("{{print 1 2 \"a\" \"b\" 3 4}}", "1 2ab3 4"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Empty}}a{{else if .Null}}b{{else if eq .Name \"/web\"}}c{{else}}d{{end}}", "c"),
        ("{{if and .State.Running (gt .RestartCount 1)}}yes{{end}}", "yes"),
        ("{{or .State.Error \"none\"}}", "none"),
        ("{{and .State.Error \"none\"}}|", "|"),
        ("{{not .State.Running}}", "false"),
        ("{{with .State}}{{.Status}}{{end}}{{with .Null}}x{{else}}y{{end}}", "runningy"),
        ("{{with .Null}}x{{else with .State}}{{.Pid}}{{end}}", "42"),
        ("{{range .Args}}<{{.}}>{{end}}", "<-c><sleep 1>"),
        ("{{range $i, $a := .Args}}{{$i}}={{$a}};{{end}}", "0=-c;1=sleep 1;"),
        ("{{range $a := .Args}}{{$a}};{{end}}", "-c;sleep 1;"),
        (
            "{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{$v.IPAddress}}\n{{end}}",
            "back 172.19.0.2\nfront 172.18.0.2\n",
        ),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", "172.19.0.2 172.18.0.2 "),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        (
            "{{range $p, $c := .Ports}}{{if $c}}{{$p}} -> {{(index $c 0).HostPort}}{{end}}{{end}}",
            "80/tcp -> 8080",
        ),
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{index .Config.Labels \"com.example.a\"}}", "1"),
        ("{{index .Config.Labels \"missing\"}}|", "|"),
        ("{{index .Args 1}}", "sleep 1"),
        ("{{len .Args}} {{len .Name}} {{len .Ports}} {{len .Null}}", "2 4 2 0"),
        ("{{slice .Id 0 4}} {{slice .Args 1}}", "0123 [sleep 1]"),
        ("{{$x := .Name}}{{$x}}{{$x = \"b\"}}{{$x}}", "/webb"),
        ("{{$n := 0}}{{range .Args}}{{$n = len .}}{{end}}{{$n}}", "7"),
        ("{{$.Name}}{{range .Args}}{{$.Name}}{{end}}", "/web/web/web"),
        ("a  {{- .Name -}}  b", "a/webb"),
        ("a {{- /* note */ -}} b", "ab"),
        ("{{/* note */}}x", "x"),
        ("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Name}}{{template \"t\" 3}}", "</web><3>"),
        ("{{block \"b\" .State}}{{.Pid}}{{end}}", "42"),
        (
            "{{range .Args}}{{break}}x{{end}}-{{range .Args}}{{if eq . \"-c\"}}{{continue}}{{end}}{{.}}{{end}}",
            "-sleep 1",
        ),
        (
            "{{printf \"%s|%5d|%-5s|%05d|%x|%q|%v|%t\" .Name 42 \"ab\" 7 255 \"q\\\"\" .Args true}}",
            "/web|   42|ab   |00007|ff|\"q\\\"\"|[-c sleep 1]|true",
        ),
        ("{{printf \"%.2f %8.3f %e %g\" .Rate 1.5 1.5 .Rate}}", "0.50    1.500 1.500000e+00 0.5"),
        ("{{printf \"%d\" \"hi\"}} {{printf \"%s\" 5}}", "%!d(string=hi) %!s(int=5)"),
        (
            "{{printf \"%d %d\" 1}} {{printf \"%d\" 1 2}} {{printf \"%\"}}",
            "1 %!d(MISSING) 1%!(EXTRA int=2) %!(NOVERB)",
        ),
        ("{{printf \"%.3s|%*d|%+d|%%\" \"abcdef\" 4 7 3}}", "abc|   7|+3|%"),
        (
            "{{eq 1 2 3 1}} {{ne \"a\" \"b\"}} {{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1 2}}",
            "true true true true true false",
        ),
        ("{{eq .Null nil}}", "true"),
        ("{{0x10}} {{1_000}} {{'a'}} {{1.5}} {{true}} {{-3}}", "16 1000 97 1.5 true -3"),
        ("{{`raw\\n`}}{{\"tab\\t\"}}", "raw\\ntab\t"),
        ("{{.Name | printf \"%s-%s\" \"x\"}}", "x-/web"),
        ("{{.Name | upper | lower}}", "/web"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{\"a\"}}{{\"<&>\" | json}}", "a\"<&>\""),
    ];
    for (text, want) in cases {
        let got = render(text, &container()).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(got, *want, "{text}");
    }
}

#[test]
fn errors() {
    let cases: &[(&str, &str)] = &[
        ("{{.Foo}}", "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""),
        (
            "{{.State.Foo}}",
            "template: :1:8: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\"",
        ),
        ("{{.state}}", "template: :1:2: executing \"\" at <.state>: map has no entry for key \"state\""),
        (
            "{{.State.Health.Status}}",
            "template: :1:8: executing \"\" at <.State.Health.Status>: nil pointer evaluating interface {}.Status",
        ),
        (
            "x\n{{.Name.Foo}}",
            "template: :2:7: executing \"\" at <.Name.Foo>: can't evaluate field Foo in type string",
        ),
        (
            "{{index .Args 5}}",
            "template: :1:2: executing \"\" at <index .Args 5>: error calling index: index out of range: 5",
        ),
        ("{{len 3}}", "template: :1:2: executing \"\" at <len 3>: error calling len: len of type int"),
        ("{{not}}", "template: :1:2: executing \"\" at <not>: wrong number of args for not: want 1 got 0"),
        (
            "{{eq 1 \"a\"}}",
            "template: :1:2: executing \"\" at <eq 1 \"a\">: error calling eq: incompatible types for comparison",
        ),
        (
            "{{range .Name}}{{end}}",
            "template: :1:8: executing \"\" at <.Name>: range can't iterate over /web",
        ),
        (
            "{{template \"x\"}}",
            "template: :1:11: executing \"\" at <{{template \"x\"}}>: template \"x\" not defined",
        ),
        ("{{", "template: :1: unclosed action"),
        ("{{.Name", "template: :1: unclosed action"),
        ("{{if .Name}}", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{else}}", "template: :1: unexpected {{else}}"),
        ("{{foo .Name}}", "template: :1: function \"foo\" not defined"),
        ("{{$x}}", "template: :1: undefined variable \"$x\""),
        ("{{}}", "template: :1: missing value for command"),
        ("{{.Name | }}", "template: :1: missing value for command"),
        ("{{\"a}}", "template: :1: unterminated quoted string"),
        ("{{(.Name}}", "template: :1: unclosed left paren"),
        ("{{.Name)}}", "template: :1: unexpected right paren"),
        ("{{/* x}}", "template: :1: unclosed comment"),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
    ];
    for (text, want) in cases {
        let error = render(text, &container()).expect_err(text);
        assert_eq!(error.to_string(), *want, "{text}");
    }
}

#[test]
fn zero_values_and_methods() {
    let options = Options {
        methods: &[("Label", |receiver, arguments| {
            let name = arguments[0].as_str().ok_or("label name is not a string")?;
            Ok(receiver["Labels"][name].clone())
        })],
        zero: Some(|field| (field == "Health").then_some(Value::Null)),
        ..Options::default()
    };
    let run =
        |text: &str| Template::parse_with(text, options).unwrap().execute(&json!({"Labels": {"a": "1"}}));
    assert_eq!(run("{{.Label \"a\"}}").unwrap(), "1");
    assert_eq!(run("{{if .Health}}x{{else}}none{{end}}").unwrap(), "none");
    assert!(run("{{.Other}}").is_err());
}

#[test]
fn headers_pass_through_functions() {
    let options = Options { header: true, lenient: true, ..Options::default() };
    let header =
        Template::parse_with("{{upper .Name}} {{json .ID}} {{truncate .ID 2}} {{.Nope}}", options).unwrap();
    let text = header.execute(&json!({"Name": "Names", "ID": "Container ID"})).unwrap();
    assert_eq!(text, "Names Container ID Container ID <no value>");
}

#[test]
fn hostile_templates_end() {
    let deep = "{{if true}}".repeat(5000);
    assert!(render(&deep, &json!({})).is_err());
    let parens = format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(render(&parens, &json!({})).is_err());
    assert!(render("{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}", &json!({})).is_err());
    assert!(render("{{printf \"%999999999d\" 1}}", &json!({})).is_ok());
    assert!(render("{{pad \"x\" 99999999999 1}}", &json!({})).is_err());
}
