package compiler_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// archive reads files in the txtar format.
func archive(text string) fileSet {
	files := fileSet{}
	for _, f := range txtar.Parse([]byte(text)).Files {
		files[f.Name] = string(f.Data)
	}
	return files
}

// rendered is what a person sees of an error.
func rendered(t *testing.T, err error) string {
	t.Helper()
	var found lang.Diagnostics
	require.True(t, errors.As(err, &found), "%v", err)
	var b bytes.Buffer
	require.NoError(t, found.Render(&b, false))
	return b.String()
}

// Imported names and rules come first, once, wherever the paths meet.
func TestImports(t *testing.T) {
	policy, err := checkFiles(archive(`
-- corp/main.hop --
import "../base/left.yaml"
import "right.hop"
policy main {
  default deny
  rule own: allow if remote_port in $web and next_hop == $vpn
  test { remote_port = 80 } => deny
}
-- base/left.yaml --
version: 1
policy: left
default: allow
mode: audit
import: [common.hop]
rules:
  - id: left
    action: deny
    match: {remote_port: $web}
tests:
  - given: {remote_port: 80}
    expect: allow
-- corp/right.hop --
import "../base/./common.hop"
policy right {
  hook connect
  default allow
  rule right: deny if remote_address in $hosts
  assert ignored: never allow
}
-- base/common.hop --
policy common {
  set web = { 80, 443 }
  set hosts = file "lists/hosts.txt"
  set spare = { 1 }
  interface vpn = alias "VPN"
  rule common: deny if protocol == icmp
}
-- base/lists/hosts.txt --
10.0.0.0/8
`), "corp/main.hop", nil)
	require.NoError(t, err)
	require.Equal(t, `policy main {
  default deny
  interface vpn = alias "VPN"
  rule common: deny if protocol == icmp
  rule left: deny if remote_port in { 80, 443 }
  rule right: deny if remote_address in 10.0.0.0/8
  rule own: allow if remote_port in { 80, 443 } and next_hop == $vpn
  test { next_hop = unknown, remote = 0.0.0.0:80 } => deny
}
`, policy.String())
	require.Empty(t, policy.Warnings)
}

func TestImportErrors(t *testing.T) {
	for _, test := range []struct{ name, files, want string }{
		{"cycle", `
-- a.hop --
import "b.hop"
policy a { default deny }
-- b.hop --
import "c.yaml"
policy b { }
-- c.yaml --
version: 1
policy: c
import: [a.hop]
`, `
c.yaml:3:10: importing ` + "`a.hop`" + ` closes a cycle [import-cycle]
    import: [a.hop]
             ^~~~~
    note: a.hop:1:1: ` + "`b.hop`" + ` is imported here
    note: b.hop:1:1: ` + "`c.yaml`" + ` is imported here
`},
		{"itself", `
-- a.hop --
import "./a.hop"
policy a { default deny }
`, `
a.hop:1:1: ` + "`./a.hop`" + ` imports itself [import-cycle]
    import "./a.hop"
    ^~~~~~~~~~~~~~~~
`},
		{"duplicates", `
-- a.hop --
import "b.hop"
policy a {
  default deny
  set s = { 1 }
  rule r: deny if remote_port in $s
}
-- b.hop --
policy b {
  interface s = alias "S"
  rule r: deny
}
`, `
a.hop:4:7: two sets or interfaces are called ` + "`s`" + ` [duplicate-name]
    set s = { 1 }
        ^
    note: b.hop:2:3: first defined here
a.hop:5:8: there are two rules ` + "`r`" + ` [duplicate-rule]
    rule r: deny if remote_port in $s
         ^
    note: b.hop:3:8: first defined here
a.hop:5:34: ` + "`$s`" + ` is an interface, ` + "`remote_port`" + ` is a port [interface-kind]
    rule r: deny if remote_port in $s
                                   ^~
    note: b.hop:2:3: defined here
    hint: an interface is compared with next_hop or interface
`},
		{"conflicts", `
-- a.hop --
import "b.hop"
policy a {
  hook connect
  default deny
}
-- b.hop --
policy b {
  hook accept
  on unknown fail-open
}
`, `
b.hop:2:8: the imported ` + "`hook` is `accept`, the policy's is `connect`" + ` [import-conflict]
    hook accept
         ^~~~~~
    note: a.hop:3:8: the policy sets it here
b.hop:3:14: the imported ` + "`on unknown` is `fail-open`, the policy's is `fail-closed`" + ` [import-conflict]
    on unknown fail-open
               ^~~~~~~~~
    hint: ` + "`fail-closed` is the default; set `on unknown`" + ` in the importing policy too
`},
		{"missing", `
-- a.hop --
import "b/c.hop"
policy a { default deny }
-- b/c.hop --
import "d.hop"
policy c { rule r: deny if protocol == tpc }
`, `
b/c.hop:1:8: cannot read ` + "`b/d.hop`" + `: file does not exist [unreadable-file]
    import "d.hop"
           ^~~~~~~
b/c.hop:2:40: ` + "`tpc`" + ` is not a protocol [unknown-name]
    policy c { rule r: deny if protocol == tpc }
                                           ^~~
    hint: did you mean ` + "`tcp`" + `?
`},
		{"broken", `
-- a.hop --
import "b.hop"
policy a { default deny rule a: allow if remote_port in $s }
-- b.hop --
policy b { set s = { 1 } rule }
`, `
b.hop:1:31: expected the rule's id, found ` + "`}`" + ` [syntax]
    policy b { set s = { 1 } rule }
                                  ^
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := "a.hop"
			_, err := checkFiles(archive(test.files), name, nil)
			require.Equal(t, strings.TrimPrefix(test.want, "\n"), rendered(t, err))
		})
	}
}

// A long chain of imports is an error, not a stack overflow.
func TestImportDepth(t *testing.T) {
	files := fileSet{}
	for i := range 200 {
		files[fmt.Sprintf("%d.hop", i)] = fmt.Sprintf("import \"%d.hop\"\npolicy p { default deny }\n", i+1)
	}
	_, err := checkFiles(files, "0.hop", nil)
	require.ErrorContains(t, err, "imports nest deeper than 100")
}

// A set file may have comments, blank lines, indentation, CRLF and a byte order
// mark, and names of other constant sets.
func TestSetFiles(t *testing.T) {
	files := fileSet{
		"p.hop":       "policy p { default deny set a = file \"lists/a.txt\" set b = { 10.1.0.0/16 } rule r: deny if remote in $a }",
		"lists/a.txt": "\ufeff# hosts\r\n\r\n  10.0.0.1 # one\r\n$b\r\n192.0.2.1:80/tcp\r\n2001:db8::/32",
	}
	policy, err := checkFiles(files, "p.hop", nil)
	require.NoError(t, err)
	require.Equal(t, "remote_address in { 10.0.0.1, 10.1.0.0/16, 2001:db8::/32 } or remote_address == 192.0.2.1 and remote_port == 80 and protocol == tcp",
		policy.Rules[0].Cond.String())
}

func TestSetFileLimit(t *testing.T) {
	_, err := checkFiles(fileSet{
		"p.hop": "policy p { default deny set a = file \"a\" rule r: deny if remote in $a }",
		"a":     strings.Repeat("10.0.0.1\n", 8<<20),
	}, "p.hop", nil)
	require.ErrorContains(t, err, "`a` is larger than 64 MiB")
}

// A wrong file gives a hundred errors and a last one that says so.
func TestManyErrors(t *testing.T) {
	_, err := checkFiles(fileSet{
		"p.hop": "policy p { default deny set a = file \"a\" rule r: deny if remote in $a }",
		"a":     strings.Repeat("no address\n", 1000),
	}, "p.hop", nil)
	var found lang.Diagnostics
	require.True(t, errors.As(err, &found))
	require.Len(t, found, 101)
	require.Equal(t, "a:101:1: more than 100 errors; the rest is not shown [limit]", found[100].Error())
}

// Sets that name sets are put together once each, not once a path.
func TestNestedSetsDoNotExplode(t *testing.T) {
	var b strings.Builder
	b.WriteString("policy p { default deny set s0 = { 1 }\n")
	for i := 1; i <= 90; i++ {
		fmt.Fprintf(&b, "set s%d = { $s%d, $s%d, %d }\n", i, i-1, i-1, 2*i)
	}
	b.WriteString("rule r: deny if remote_port in $s90 }")
	require.Len(t, check(t, b.String()).Rules[0].Cond.(compiler.In).Ranges, 90)
}

// Interfaces are bound by the options, and a test or a policy of its own names
// those that are not.
func TestBinding(t *testing.T) {
	files := fileSet{"p.hop": `policy p { default deny
		interface a = alias "A"
		interface b = alias "B"
		interface c = luid "ethernet_5"
		rule r: deny if next_hop in { $a, $b, $c } }`}
	policy, err := checkFiles(files, "p.hop", &compiler.Options{Bind: map[string]uint64{"a": 7}})
	require.NoError(t, err)
	a, b, c := policy.Interfaces[0], policy.Interfaces[1], policy.Interfaces[2]
	require.True(t, a.Bound)
	require.Equal(t, uint64(7), a.LUID)
	require.False(t, b.Bound)
	require.NotZero(t, b.LUID)
	require.True(t, c.Bound)
	require.Equal(t, uint64(0x0006000005000000), c.LUID)

	policy, err = checkFiles(files, "p.hop", &compiler.Options{BindAll: true})
	require.NoError(t, err)
	require.True(t, policy.Interfaces[0].Bound)
	require.NotEqual(t, policy.Interfaces[0].LUID, policy.Interfaces[1].LUID)
}
