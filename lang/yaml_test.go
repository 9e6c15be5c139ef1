package lang_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/lang"
)

// found parses a text that has errors and returns them.
func found(t testing.TB, name, text string) lang.Diagnostics {
	t.Helper()
	_, err := lang.Parse(name, []byte(text))
	var ds lang.Diagnostics
	require.True(t, errors.As(err, &ds), "%q: no error", shortened(text))
	return ds
}

func shortened(s string) string { return s[:min(len(s), 200)] }

// TestYAMLSyntax checks that what yaml.v3 cannot read is laid on the line where it
// stands, and that the usual traps are named.
func TestYAMLSyntax(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		line       int
		hint       string
	}{
		{"bracketed address", "a: b\nremote: [::1]\nb: c\n", 2, "write `'[::1]'`"},
		{"bracketed address with a port", "a:\n  - [2001:db8::1]:443/udp\n  - b\n", 2, "write `'[2001:db8::1]:443/udp'`"},
		{"bracketed address in a flow mapping", "rules:\n  - id: a\n    match: {remote: [::1]}\n    action: deny\n", 3, "write `'[::1]'`"},
		{"address that ends in colons", "a: b\nb: fd00::\nc: d\n", 2, "write `'fd00::'`"},
		{"first line", "a: fd00::\nb: c\n", 1, "write `'fd00::'`"},
		{"indented less", "rules:\n  - id: a\n    action: deny\n   match: x\nfoo: bar\n", 4, "the keys of one block, and the `-` of one list, begin in the same column"},
		{"indented more", "v: 1\n\n\n\na: b\n c: d\n\n\ne: f\n", 6, "the keys of one block, and the `-` of one list, begin in the same column"},
		{"indented by a tab", "rules:\n\t- id: a\n", 2, "indent with spaces"},
		{"no-break space", "policy: a\ndefault:\u00a0allow\n", 2, "there is an invisible character, U+00A0: write a blank or leave it out"},
		{"tab", "rules:\n  - id: a\n\taction: deny\n    match: x\n", 3, "indent with spaces"},
		{"open double quote", "a: 1\nb: \"open\nc: d\ne: f\n", 2, "a quote is not closed"},
		{"open single quote far above the end", "b: 'open\n" + strings.Repeat("c: d\n", 1000), 1, "a quote is not closed"},
		{"at sign", "v: 1\na: @foo\nb: c\n", 2, "put a value that begins with `@`, `%` or a backquote in quotes"},
		{"open bracket", "v: 1\na: [1, 2\nb: c\n", 2, ""},
		{"missing comma", "v: 1\na: {x: 1,\n  y: 2\n  z: 3}\nb: c\n", 3, ""},
		{"long list before", "a: [" + strings.Repeat("1,\n  ", 500) + "1]\nb: {x: 1\n", 502, ""},
		{"unknown anchor", "v: 1\na: *nope\nb: c\n", 2, ""},
		{"unknown escape", "v: 1\na: \"\\q\"\nb: c\n", 2, ""},
		{"two colons", "v: 1\na: b: c\nd: e\n", 2, "put a value that contains `: ` or ends in `:` in quotes"},
		{"word for a key", "v: 1\nfoo\nd: e\n", 2, ""},
		{"item in a mapping", "v: 1\n- foo\nd: e\n", 2, ""},
		{"text after a quote", "v: 1\na: 'x' y\nd: e\n", 2, ""},

		{"in the second document", "v: 1\n---\na: [\n", 3, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ds := found(t, "x.yaml", tt.text)
			last := ds[len(ds)-1]
			require.Equal(t, "yaml-syntax", last.Code, last.Error())
			require.Equal(t, fmt.Sprintf("x.yaml:%d:1", tt.line), last.Span.String(), last.Error())
			require.Equal(t, tt.hint, last.Hint, last.Error())
		})
	}
}

func TestYAMLDocuments(t *testing.T) {
	for _, tt := range []struct{ name, text, code, at string }{
		{"two", "policy: a\n---\npolicy: b\n", "yaml", "x.yaml:2:1"},
		{"second is empty", "policy: a\n---\n", "yaml", "x.yaml:2:1"},
		{"only comments", "# nothing\n", "empty-file", "x.yaml:1:1"},
		{"a list", "- a\n", "wrong-kind", "x.yaml:1:1"},
		{"a word", "hello\n", "wrong-kind", "x.yaml:1:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ds := found(t, "x.yaml", tt.text)
			require.Len(t, ds, 1)
			require.Equal(t, tt.code, ds[0].Code)
			require.Equal(t, tt.at, ds[0].Span.String())
		})
	}
	_, err := lang.Parse("x.yml", []byte("%YAML 1.1\n---\npolicy: a\ndefault: deny\n...\n"))
	require.NoError(t, err)
}

// TestLimits feeds both parsers what would exhaust a machine; each gets one clear
// error.
func TestLimits(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := byte('b'); c < 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 10), ","))
	}
	for _, tt := range []struct{ name, file, text, code string }{
		{"open parentheses", "x.hop", "policy p { rule a: deny if " + strings.Repeat("(", 1_000_000), "limit"},
		{"nots", "x.hop", "policy p { rule a: deny if " + strings.Repeat("not ", 1_000_000), "limit"},
		{"stray characters", "x.hop", "policy p { " + strings.Repeat("; ", 1_000_000), "limit"},
		{"large", "x.hop", strings.Repeat(" ", 32<<20+1), "limit"},
		{"large YAML", "x.yaml", strings.Repeat(" ", 32<<20+1), "limit"},
		{"binary", "x.hop", "\x7fELF\x02\x01\x01\x00\x00", "unreadable"},
		{"binary YAML", "x.yaml", "\x7fELF\x02\x01\x01\x00\x00", "unreadable"},
		{"not UTF-8", "x.hop", "policy p\xff {", "unreadable"},
		{"UTF-16", "x.yaml", "\xff\xfea\x00", "unreadable"},
		{"empty", "x.hop", "", "empty-file"},
		{"empty YAML", "x.yaml", "\ufeff \r\n", "empty-file"},
		{"extension", "x.json", "{}", "unreadable"},
		{"brackets", "x.yaml", "a: " + strings.Repeat("[", 1_000_000), "limit"},
		{"nested", "x.yaml", "a: " + strings.Repeat("[", 200) + strings.Repeat("]", 200), "limit"},
		{"alias bomb", "x.yaml", bomb, "limit"},
		{"alias of itself", "x.yaml", "a: &a [*a]\n", "limit"},
		{"nested by aliases", "x.yaml", "a: &a " + strings.Repeat("[", 60) + strings.Repeat("]", 60) + "\nb: " + strings.Repeat("[", 60) + "*a" + strings.Repeat("]", 60), "limit"},
		{"values", "x.yaml", "a: [" + strings.Repeat("1,", 2_000_000) + "1]", "limit"},
		{"condition in YAML", "x.yaml", "rules: [{id: a, action: deny, if: '" + strings.Repeat("(", 1_000_000) + "'}]", "limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ds := found(t, tt.file, tt.text)
			require.Equal(t, tt.code, ds[len(ds)-1].Code, ds[len(ds)-1].Message)
			require.True(t, len(ds) == 1 || tt.name == "stray characters")
		})
	}
}

func TestAliases(t *testing.T) {
	file, err := lang.Parse("x.yaml", []byte(`
policy: p
default: deny
rules:
  - {id: a, action: &v deny, match: &m {remote_port: &ports [22, 23]}}
  - {id: b, action: *v, match: *m}
  - {id: c, action: deny, match: {local_port: *ports}}
`))
	require.NoError(t, err)
	require.Equal(t, "remote_port in { 22, 23 }", file.Rules[1].Cond.If.String())
	require.Equal(t, "local_port in { 22, 23 }", file.Rules[2].Cond.If.String())
}

// YAML would make a number, a date or a boolean of these.
func TestScalarsAreText(t *testing.T) {
	for _, word := range []string{"22:22", "010", "0x1F", "1_000", "1e3", "no", "off", "yes", "true", "2001-01-01", ".5", "1.0", "0o17", "190:20:30"} {
		file, err := lang.Parse("x.yaml", []byte("policy: p\ndefault: deny\nrules:\n  - {id: a, action: deny, match: {remote_port: "+word+"}}\n"))
		require.NoError(t, err, word)
		require.Equal(t, "remote_port == "+word, file.Rules[0].Cond.If.String())
	}
}

// TestPlacesInScalars writes words in every style of scalar, folded, indented and
// escaped at random, and looks for one that stands for nothing.
func TestPlacesInScalars(t *testing.T) {
	for seed := range uint64(500) {
		r := random{rand.New(rand.NewPCG(seed, 1))}
		for _, style := range []struct {
			open, close string
			joins       []string
			escape      bool
		}{
			{"", "", []string{" ", "   ", "\n      ", "\n\n      ", " \n   \n      "}, false},
			{"'", "'", []string{" ", "   ", "\n      ", "\n\n\n      ", " \t\n      ", " '' "}, false},
			{"\"", "\"", []string{" ", "\n      ", "\n\n      ", "\\n", "\\t ", "\\x20", " \\\n      ", "\\\n      \\  ", " \n      \\t", "\\u0020"}, true},
			{"|\n      ", "", []string{" ", "   ", "\n      ", "\n\n\n      ", "\n        "}, false},
			{">-\n      ", "", []string{" ", "\n      ", "\n\n      ", "\n        ", "\n          \n      "}, false},
			{"&anchor '", "'", []string{" ", "\n      "}, false},
		} {
			var b strings.Builder
			b.WriteString("rules:\n  - id: é\n    if: " + style.open)
			words := 2 + r.IntN(8)
			bad := r.IntN(words)
			for i := range words {
				if i > 0 {
					b.WriteString(style.joins[r.IntN(len(style.joins))])
				}
				switch {
				case i == bad:
					b.WriteString("@@")
				case style.escape && r.IntN(3) == 0:
					b.WriteString([]string{`n\u006ft`, `\x6eot`, `\U0000006eot`, `\u20ac`}[r.IntN(4)])
				default:
					b.WriteString(r.pick("not", "€"))
				}
			}
			text := b.String() + style.close + "\n    action: deny # comment\n"
			if bad == 0 && style.open == "" {
				continue // a plain scalar cannot begin so
			}
			want := lang.Span{Source: lang.NewSource("x.yaml", []byte(text)), Start: strings.Index(text, "@")}.String() + ": unexpected `@@` [syntax]"
			require.Contains(t, found(t, "x.yaml", text).Error(), want, "%s", text)
		}
	}
}
