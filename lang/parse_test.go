package lang_test

import (
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/lang"
)

// TestWords reads one condition each: what a word is depends on nothing but its
// characters.
func TestWords(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"tunnel_type==6to4", "tunnel_type == 6to4"},
		{"remote_address == fd00::", "remote_address == fd00::"},
		{"remote_address in {fd00::,::,::1,fe80::/10}", "remote_address in { fd00::, ::, ::1, fe80::/10 }"},
		{"remote_port == 1000-2000/tcp", "remote_port == 1000-2000/tcp"},
		{"remote == [2001:db8::1]:443/udp", "remote == [2001:db8::1]:443/udp"},
		{"next_hop == $vpn", "next_hop == $vpn"},
		{"if == if and in in {in, not, and}", "if == if and in in { in, not, and }"},
		{"not not in not in { not }", "not not in not in { not }"},
		{"a==b#comment\nor c!=d", "a == b or c != d"},
	} {
		x, err := lang.ParseExpr("x", []byte(tt.text))
		require.NoError(t, err, tt.text)
		require.Equal(t, tt.want, x.String())
	}
}

// A keyword names things as any other word does.
func TestKeywordsAreContextual(t *testing.T) {
	file := parsed(t, lang.DSL, []byte(`import "a.hop" import "b.hop" policy policy { default deny
		set set = { set, rule } set dynamic dynamic = { } set file = file "x" interface interface = name "name"
		rule rule: deny log audit if interface == $interface rule if:deny unless unless == if rule log:allow hard
		assert assert: never allow hard if test in $set assert always: always deny
		test { test = test } => deny by by test { } => deny by rule test{}=>allow hard}`))
	require.Len(t, file.Imports, 2)
	require.Len(t, file.Sets, 3)
	require.Len(t, file.Interfaces, 1)
	require.Len(t, file.Rules, 3)
	require.Len(t, file.Asserts, 2)
	require.Len(t, file.Tests, 3)
	require.Equal(t, "by", file.Tests[0].By.Text)
	require.Equal(t, "rule", file.Tests[1].By.Text)
	require.Equal(t, "unless unless == if", file.Rules[1].Cond.String())
	require.Equal(t, lang.AllowHard, file.Rules[2].Action.Verdict)
}

func TestMarksAndLineEndings(t *testing.T) {
	for name, text := range map[string]string{
		"x.hop":  "\ufeffpolicy a {\r\n  default deny # c\r\n}\r\n",
		"x.yaml": "\ufeffpolicy: a\r\ndefault: deny # c\r\n",
	} {
		file, err := lang.Parse(name, []byte(text))
		require.NoError(t, err)
		require.Equal(t, "a", file.Policy.Text)
		require.Equal(t, " c", file.Default.After)
		require.Equal(t, name+":2:", file.Default.Span.String()[:len(name)+3])
	}
}

// TestBothSyntaxes reads language.md's example in both spellings.
func TestBothSyntaxes(t *testing.T) {
	inYAML := parsed(t, lang.YAML, []byte(`version: 1
policy: untrusted-wifi
hook: connect                 # connect (default) | accept
default: allow
sets:
  lan-services: [139/tcp, 445/tcp, 3389/tcp, 5985-5986/tcp]
rules:
  - id: loopback
    action: allow-hard
    match: {interface_type: loopback}
  - id: no-lan-services
    action: deny
    log: true
    match: {interface_type: wifi, remote_port: $lan-services}
tests:
  - given: {interface_type: wifi, remote: '10.0.0.9:445', protocol: tcp}
    expect: deny
    by: no-lan-services
`))
	inDSL := parsed(t, lang.DSL, []byte(`policy untrusted-wifi {
  hook connect # connect (default) | accept
  default allow
  set lan-services = { 139/tcp, 445/tcp, 3389/tcp, 5985-5986/tcp }

  rule loopback: allow hard if interface_type == loopback
  rule no-lan-services: deny log if interface_type == wifi and remote_port in $lan-services

  test { interface_type = wifi, remote = 10.0.0.9:445, protocol = tcp } => deny by no-lan-services
}
`))
	sameText(t, string(inDSL.Source.Text), string(lang.Format(inDSL, lang.DSL)))
	sameText(t, string(inDSL.Source.Text), string(lang.Format(inYAML, lang.DSL)))
	sameText(t, string(lang.Format(inYAML, lang.YAML)), strings.ReplaceAll(string(lang.Format(inDSL, lang.YAML)), "\n\n", "\n"))
}

// TestPositions checks that every word of a tree stands where it says.
func TestPositions(t *testing.T) {
	for _, path := range glob(t, "policies/*") {
		src, err := os.ReadFile(path)
		require.NoError(t, err)
		file, err := lang.Parse(path, src)
		require.NoError(t, err)
		n := 0
		var walk func(v reflect.Value)
		walk = func(v reflect.Value) {
			if w, ok := v.Interface().(lang.Word); ok {
				if w.Source != nil {
					got := string(src[w.Start:w.End])
					if s, err := strconv.Unquote(got); err == nil {
						got = s
					}
					require.Equal(t, w.String(), got, "%s", w.Span)
					n++
				}
				return
			}
			switch v.Kind() {
			case reflect.Pointer, reflect.Interface:
				if !v.IsNil() && v.Type() != reflect.TypeFor[*lang.Source]() {
					walk(v.Elem())
				}
			case reflect.Struct:
				for i := range v.NumField() {
					walk(v.Field(i))
				}
			case reflect.Slice:
				for i := range v.Len() {
					walk(v.Index(i))
				}
			}
		}
		walk(reflect.ValueOf(*file))
		require.Greater(t, n, 20)
	}
}

// A file with errors still gives what was understood, for its names to be
// checked.
func TestPartialTree(t *testing.T) {
	file, err := lang.Parse("x.hop", []byte("policy p {\n default deny\n set s = { 1, \n rule a: deny if remote_port == \n rule b: allow if remote_port in $s\n}"))
	require.Error(t, err)
	require.Len(t, file.Sets, 1)
	require.Len(t, file.Rules, 2)
	file, err = lang.Parse("x.yaml", []byte("policy: p\ndefault: dney\nrules: [{id: a, action: deny}]\nbogus: 1\n"))
	require.Error(t, err)
	require.Len(t, file.Rules, 1)
}

func TestFragments(t *testing.T) {
	a, err := lang.ParseClaim("--never", false, []byte("allow hard if interface_type == wifi and remote_port == 23 unless next_hop == $vpn"))
	require.NoError(t, err)
	require.False(t, a.Always)
	require.Equal(t, lang.AllowHard, a.Verdict.Verdict)
	require.Equal(t, "if interface_type == wifi and remote_port == 23 unless next_hop == $vpn", a.Cond.String())

	list, err := lang.ParseGivens("--given", []byte("interface_type=wifi, remote=10.0.0.9:445,protocol=tcp"))
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Equal(t, "10.0.0.9:445", list[1].Value.Text)

	file, err := lang.ParseTests("p_test.yaml", []byte("tests:\n  - expect: deny\nasserts:\n  - {id: a, never: allow, match: {remote_port: 23}}\n"))
	require.NoError(t, err)
	require.Len(t, file.Tests, 1)
	require.Len(t, file.Asserts, 1)

	for _, tt := range []struct {
		parse func(text string) error
		text  string
		want  string
	}{
		{expr, "a == 1 b == 2", "x:1:8: expected `and`, `or` or the end, found `b` [syntax]"},
		{expr, "a ==", "x:1:5: expected a value, found the end [syntax]"},
		{expr, "", "x:1:1: the file is empty [empty-file]"},
		{claim, "alow if a == 1", "x:1:1: unknown verdict `alow` [unknown-value]"},
		{claim, "deny if a == 1 log", "x:1:16: expected `if`, `unless` or the end, found `log` [syntax]"},
		{givens, "a = 1; b = 2", "x:1:6: unexpected `;` [syntax]\nx:1:8: expected `,` or the end, found `b` [syntax]"},
		{tests, "rules: []\ntests: []\n", "x.yaml:1:1: a file of tests has no key `rules` [unknown-key]"},
	} {
		require.EqualError(t, tt.parse(tt.text), tt.want)
	}
}

func expr(text string) error   { _, err := lang.ParseExpr("x", []byte(text)); return err }
func claim(text string) error  { _, err := lang.ParseClaim("x", true, []byte(text)); return err }
func givens(text string) error { _, err := lang.ParseGivens("x", []byte(text)); return err }
func tests(text string) error  { _, err := lang.ParseTests("x.yaml", []byte(text)); return err }

// Text of which nothing is understood is one error, and no tree for further ones to be
// found in.
func TestParseNothing(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"x.hop":     {"table inet filter {\n}\n", "x.hop:1:1: expected `policy NAME {`, found `table` [syntax]"},
		"yaml.hop":  {"policy: p\ndefault: allow\n", "yaml.hop:1:7: expected the policy's name, found `:` [syntax]"},
		"empty.hop": {"# nothing\n", "empty.hop:1:1: expected `policy NAME {`, found the end [syntax]"},
		"null.yaml": {"---\n", "null.yaml:2:1: a value is missing [null]"},
		"word.yaml": {"~\n", "word.yaml:1:1: `~` is no value in YAML [null]"},
		"list.yaml": {"- a\n", "list.yaml:1:1: expected a policy with the keys `version`, `policy`, `hook`, `default`, `mode`, `on_unknown`, `import`, `sets`, `interfaces`, `rules`, `asserts` and `tests`, found a list [wrong-kind]"},
	} {
		file, err := lang.Parse(name, []byte(tt.text))
		require.EqualError(t, err, tt.want)
		require.Nil(t, file)
	}
	// Behind a wrong name the policy goes on.
	file, err := lang.Parse("x.hop", []byte("policy \"p\" {\n  default deny\n}\n"))
	require.EqualError(t, err, "x.hop:1:8: expected the policy's name, found a string [syntax]")
	require.NotNil(t, file.Default)
}

// Characters that turn the text around them make a policy read as what it is not.
func TestParseBidirectional(t *testing.T) {
	_, err := lang.Parse("x.hop", []byte("policy p {\n  default deny # \u202e\n}\n"))
	require.EqualError(t, err, "x.hop:2:18: the character U+202E may not stand in a policy [unreadable]")
}
