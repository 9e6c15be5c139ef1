package lang_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/lang"
)

// rulesText is a policy of n rules over five fields.
func rulesText(n int) []byte {
	var b strings.Builder
	b.WriteString("policy bench {\n  default deny\n  set ports = { 139/tcp, 445/tcp, 3389/tcp }\n")
	for i := range n {
		fmt.Fprintf(&b, "  rule r%d: deny log if interface_type == wifi and remote_address in { 10.%d.%d.0/24, 192.168.0.0/16 } and remote_port in $ports and protocol == tcp unless local_port < 1024\n", i, i/250, i%250)
	}
	b.WriteString("}\n")
	return []byte(b.String())
}

// setText is a policy with a set of n addresses.
func setText(n int) []byte {
	var b strings.Builder
	b.WriteString("policy bench {\n  default deny\n  set addresses = {\n")
	for i := range n {
		fmt.Fprintf(&b, "    10.%d.%d.%d,\n", i>>16, i>>8&255, i&255)
	}
	b.WriteString("  }\n}\n")
	return []byte(b.String())
}

func benchmarkParse(b *testing.B, name string, text []byte) {
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := lang.Parse(name, text)
		require.NoError(b, err)
	}
}

func BenchmarkParseDSL(b *testing.B) {
	b.Run("rules=1000", func(b *testing.B) { benchmarkParse(b, "x.hop", rulesText(1000)) })
	b.Run("set=100000", func(b *testing.B) { benchmarkParse(b, "x.hop", setText(100_000)) })
	b.Run("set=1000000", func(b *testing.B) { benchmarkParse(b, "x.hop", setText(1_000_000)) })
}

func BenchmarkParseYAML(b *testing.B) {
	inYAML := func(text []byte) []byte { return lang.Format(parsed(b, lang.DSL, text), lang.YAML) }
	b.Run("rules=1000", func(b *testing.B) { benchmarkParse(b, "x.yaml", inYAML(rulesText(1000))) })
	b.Run("set=100000", func(b *testing.B) { benchmarkParse(b, "x.yaml", inYAML(setText(100_000))) })
}

func BenchmarkFormat(b *testing.B) {
	file := parsed(b, lang.DSL, rulesText(1000))
	for to, name := range []string{lang.DSL: "DSL", lang.YAML: "YAML"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				lang.Format(file, lang.Syntax(to))
			}
		})
	}
}
