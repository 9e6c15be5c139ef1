package bench

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// classBench reads a rule set of ClassBench (Taylor and Turner, 2007) as a policy:
// local CIDR, remote CIDR, local port, remote port, protocol. Even rules deny, odd
// ones allow, and the default allows.
func classBench(t testing.TB, name string) *compiler.Policy {
	rules := "@0.0.0.0/0\t0.0.0.0/0\t0 : 65535\t1 : 1\t0x00/0x00\n"
	if name != "one_rule" {
		packed, err := os.ReadFile("testdata/" + strings.Replace(name, "100000", "10000", 1) + ".rules.gz")
		require.NoError(t, err)
		unpack, err := gzip.NewReader(bytes.NewReader(packed))
		require.NoError(t, err)
		text, err := io.ReadAll(unpack)
		require.NoError(t, err)
		rules = string(text)
	}
	if strings.HasSuffix(name, "_100000") {
		rules = tenfold(t, rules)
	}
	file, err := lang.Parse(name+".hop", classBenchPolicy(t, rules))
	require.NoError(t, err)
	policy, err := compiler.Check(file, nil)
	require.NoError(t, err)
	return policy
}

// tenfold makes ten sites of one: each copy of the rules but the first has other
// first octets, which keeps how the rules lie to each other.
func tenfold(t testing.TB, rules string) string {
	lines := strings.Split(strings.TrimSpace(rules), "\n")
	var b strings.Builder
	for site := range 10 {
		for _, line := range lines {
			column := strings.SplitN(strings.TrimPrefix(line, "@"), "\t", 3)
			if strings.HasPrefix(line, "@0.0.0.0/0\t0.0.0.0/0\t") && site < 9 {
				continue // would shadow the sites that follow
			}
			for i := range 2 {
				var first, length int
				var rest string
				_, err := fmt.Sscanf(column[i], "%d.%s", &first, &rest)
				require.NoError(t, err, line)
				_, err = fmt.Sscanf(column[i][strings.Index(column[i], "/"):], "/%d", &length)
				require.NoError(t, err, line)
				if length >= 8 {
					column[i] = fmt.Sprintf("%d.%s", (first+23*site)%256, rest)
				}
			}
			b.WriteString("@" + strings.Join(column, "\t") + "\n")
		}
	}
	return b.String()
}

func classBenchPolicy(t testing.TB, rules string) []byte {
	var b bytes.Buffer
	b.WriteString("policy classbench {\n  default allow\n")
	for i, line := range strings.Split(strings.TrimSpace(rules), "\n") {
		column := strings.Split(strings.TrimPrefix(line, "@"), "\t")
		require.GreaterOrEqual(t, len(column), 5, line)
		fmt.Fprintf(&b, "  rule r%d: %s if local_address in %s and remote_address in %s",
			i, [...]string{"deny", "allow"}[i%2], column[0], column[1])
		for j, field := range []string{"local_port", "remote_port"} {
			if ports := strings.ReplaceAll(column[2+j], " : ", "-"); ports != "0-65535" {
				fmt.Fprintf(&b, " and %s in %s", field, ports)
			}
		}
		var protocol, mask int
		_, err := fmt.Sscanf(column[4], "0x%x/0x%x", &protocol, &mask)
		require.NoError(t, err, line)
		if mask != 0 {
			fmt.Fprintf(&b, " and protocol == %d", protocol)
		}
		b.WriteByte('\n')
	}
	b.WriteString("}\n")
	return b.Bytes()
}
