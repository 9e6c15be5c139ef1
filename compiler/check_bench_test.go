package compiler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// ruleList is a policy with mixed tests of five fields in each rule.
func ruleList(n int) string {
	var b strings.Builder
	b.WriteString("policy p {\n  default deny\n")
	for i := range n {
		fmt.Fprintf(&b, "  rule r%d: allow if interface_type in { wifi, %d } and remote_address in 10.%d.%d.0/24 and remote_port in { %d, %d-%d/tcp } and protocol != icmp unless next_hop == ethernet_%d\n",
			i, i%250+1, i/256%256, i%256, i%60000, i%60000+1, i%60000+9, i%1000)
	}
	b.WriteString("}\n")
	return b.String()
}

func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n, " rules"), func(b *testing.B) {
			file, err := lang.Parse("p.hop", []byte(ruleList(n)))
			require.NoError(b, err)
			for b.Loop() {
				_, err := compiler.Check(file, nil)
				require.NoError(b, err)
			}
		})
	}
}

// A set file of 100 000 lines, each kind of line.
func BenchmarkSetFile(b *testing.B) {
	for name, line := range map[string]func(i int) string{
		"addresses": func(i int) string { return fmt.Sprintf("10.%d.%d.%d", i*7%256, i/7%256, i%251) },
		"prefixes":  func(i int) string { return fmt.Sprintf("2001:db8:%x:%x::/64", i*7919%65536, i%65536) },
		"endpoints": func(i int) string { return fmt.Sprintf("10.%d.%d.%d:%d/tcp", i*7%256, i/7%256, i%251, i%100) },
	} {
		b.Run(name, func(b *testing.B) {
			var text strings.Builder
			for i := range 100_000 {
				text.WriteString(line(i) + "\n")
			}
			files := fileSet{"set.txt": text.String(), "p.hop": `policy p { default deny set s = file "set.txt" rule r: deny if remote in $s }`}
			for b.Loop() {
				_, err := checkFiles(files, "p.hop", nil)
				require.NoError(b, err)
			}
		})
	}
}
