package lang_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/lang"
)

// at makes a span of the first occurrence of a word in a text.
func at(text, word string) lang.Span {
	i := strings.Index(text, word)
	return lang.Span{Source: lang.NewSource("x.hop", []byte(text)), Start: i, End: i + len(word)}
}

func TestRender(t *testing.T) {
	long := strings.Repeat("0123456789", 30) + " here " + strings.Repeat("abcdefghij", 30)
	for _, tt := range []struct {
		name string
		d    lang.Diagnostic
		want string
	}{
		{"plain", lang.Diagnostic{Span: at("one\n  two three\n", "three"), Code: "c", Message: "m"},
			"x.hop:2:7: m [c]\n    two three\n        ^~~~~\n"},
		{"warning with all", lang.Diagnostic{Span: at("a b", "b"), Severity: lang.Warning, Code: "c", Message: "m", Hint: "h", Notes: []lang.Note{{at("a b", "a"), "n"}, {lang.Span{}, "nowhere"}}},
			"x.hop:1:3: warning: m [c]\n    a b\n      ^\n    note: x.hop:1:1: n\n    note: nowhere\n    hint: h\n"},
		{"outside any text", lang.Diagnostic{Severity: lang.Info, Code: "c", Message: "m"},
			"-: note: m [c]\n"},
		{"tabs", lang.Diagnostic{Span: at("\ta\tb\tc", "b"), Code: "c", Message: "m"},
			"x.hop:1:4: m [c]\n    a    b    c\n         ^\n"},
		{"wide characters", lang.Diagnostic{Span: at("日本 語x y", "語x"), Code: "c", Message: "m"},
			"x.hop:1:4: m [c]\n    日本 語x y\n         ^~~\n"},
		{"combining characters", lang.Diagnostic{Span: at("e\u0301e\u0301 x", "x"), Code: "c", Message: "m"},
			"x.hop:1:6: m [c]\n    e\u0301e\u0301 x\n       ^\n"},
		{"end of the line", lang.Diagnostic{Span: lang.Span{Source: lang.NewSource("x.hop", []byte("ab\ncd")), Start: 2, End: 2}, Code: "c", Message: "m"},
			"x.hop:1:3: m [c]\n    ab\n      ^\n"},
		{"several lines", lang.Diagnostic{Span: at("if a\nb then", "a\nb"), Code: "c", Message: "m"},
			"x.hop:1:4: m [c]\n    if a\n       ^\n"},
		{"empty line", lang.Diagnostic{Span: lang.Span{Source: lang.NewSource("x.hop", []byte("a\n\nb")), Start: 2, End: 2}, Code: "c", Message: "m"},
			"x.hop:2:1: m [c]\n"},
		{"control characters", lang.Diagnostic{Span: at("a \x1b[31m b", "b"), Code: "c", Message: "m \x1b]0;\a"},
			"x.hop:1:9: m \ufffd]0;\ufffd [c]\n    a \ufffd[31m b\n            ^\n"},
		{"long line", lang.Diagnostic{Span: at(long, "here"), Code: "c", Message: "m"},
			"x.hop:1:302: m [c]\n    …" + strings.Repeat("0123456789", 6)[1:] + " here " + strings.Repeat("abcdefghij", 4)[:35] + "…\n" +
				"    " + strings.Repeat(" ", 61) + "^~~~\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, lang.Diagnostics{tt.d}.Render(&out, false))
			require.Equal(t, tt.want, out.String())
		})
	}
}

func TestRenderColor(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, lang.Diagnostics{{Span: at("a b", "b"), Code: "c", Message: "m", Hint: "h"}}.Render(&out, true))
	require.Equal(t, "\x1b[1mx.hop:1:3\x1b[m: m \x1b[2m[c]\x1b[m\n    a b\n    \x1b[1;31m  ^\x1b[m\n    \x1b[1;32mhint: \x1b[mh\n", out.String())
}

func TestDiagnosticJSON(t *testing.T) {
	ds := lang.Diagnostics{
		{Span: at("ä b\nc", "b\nc"), Severity: lang.Warning, Code: "c", Message: "m", Hint: "h", Notes: []lang.Note{{at("a", "a"), "n"}}},
		{Code: "d", Message: "nowhere"},
	}
	got, err := json.Marshal(ds)
	require.NoError(t, err)
	require.JSONEq(t, `[
		{"file":"x.hop","line":1,"column":3,"end_line":2,"end_column":2,"severity":"warning","code":"c","message":"m","hint":"h",
		 "notes":[{"file":"x.hop","line":1,"column":1,"end_line":1,"end_column":2,"message":"n"}]},
		{"severity":"error","code":"d","message":"nowhere"}]`, string(got))
}
