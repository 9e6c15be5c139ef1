// Package classbench has rule sets of ClassBench (Taylor and Turner, "ClassBench: A Packet
// Classification Benchmark", IEEE/ACM Transactions on Networking 15(3), 2007) as policies, and
// makes others like them.
package classbench

import (
	"compress/gzip"
	"embed"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

//go:embed testdata/*.rules.gz
var sets embed.FS

// Set reads a rule set of testdata: acl1_1000, fw1_1000, ipc1_1000, acl1_10000 or
// fw1_10000. Ten times acl1_10000 is acl1_100000; one_rule is the least that is a set.
// A name such as fw-like_100000 is the first policy of so many rules of a family.
func Set(name string) (*compiler.Policy, error) {
	for _, f := range Families() {
		if n, ok := strings.CutPrefix(name, f.Name+"-like_"); ok {
			size, err := strconv.Atoi(n)
			if err != nil {
				return nil, err
			}
			return f.Policy(0, size)
		}
	}
	if name == "one_rule" {
		return Policy(name, []string{"@0.0.0.0/0\t0.0.0.0/0\t0 : 65535\t1 : 1\t0x00/0x00"})
	}
	stem, large := strings.CutSuffix(name, "_100000")
	if large {
		stem += "_10000"
	} else {
		stem = name
	}
	packed, err := sets.Open("testdata/" + stem + ".rules.gz")
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	unpack, err := gzip.NewReader(packed)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(unpack)
	if err != nil {
		return nil, err
	}
	rules := strings.Split(strings.TrimSpace(string(text)), "\n")
	if large {
		if rules, err = tenfold(rules); err != nil {
			return nil, err
		}
	}
	return Policy(name, rules)
}

// tenfold makes ten sites of one: each copy of the rules but the first has other
// first octets, which keeps how the rules lie to each other.
func tenfold(rules []string) ([]string, error) {
	var all []string
	for site := range 10 {
		for _, rule := range rules {
			column := strings.SplitN(strings.TrimPrefix(rule, "@"), "\t", 3)
			if strings.HasPrefix(rule, "@0.0.0.0/0\t0.0.0.0/0\t") && site < 9 {
				continue // would shadow the sites that follow
			}
			for i := range 2 {
				var first, length int
				var rest string
				_, err := fmt.Sscanf(column[i], "%d.%s", &first, &rest)
				if err == nil {
					_, err = fmt.Sscanf(column[i][strings.Index(column[i], "/"):], "/%d", &length)
				}
				if err != nil {
					return nil, fmt.Errorf("%s: %w", rule, err)
				}
				if length >= 8 {
					column[i] = fmt.Sprintf("%d.%s", (first+23*site)%256, rest)
				}
			}
			all = append(all, "@"+strings.Join(column, "\t"))
		}
	}
	return all, nil
}

// Policy makes a policy of rules as ClassBench writes them: local CIDR, remote CIDR,
// local port, remote port, protocol. Even rules deny, odd ones allow, and the
// default allows.
func Policy(name string, rules []string) (*compiler.Policy, error) {
	var b strings.Builder
	b.WriteString("policy classbench {\n  default allow\n")
	for i, rule := range rules {
		column := strings.Split(strings.TrimPrefix(rule, "@"), "\t")
		if len(column) < 5 {
			return nil, fmt.Errorf("not a rule of ClassBench: %s", rule)
		}
		fmt.Fprintf(&b, "  rule r%d: %s if local_address in %s and remote_address in %s",
			i, [...]string{"deny", "allow"}[i%2], column[0], column[1])
		for j, field := range []string{"local_port", "remote_port"} {
			if ports := strings.ReplaceAll(column[2+j], " : ", "-"); ports != "0-65535" {
				fmt.Fprintf(&b, " and %s in %s", field, ports)
			}
		}
		var protocol, mask int
		if _, err := fmt.Sscanf(column[4], "0x%x/0x%x", &protocol, &mask); err != nil {
			return nil, fmt.Errorf("%s: %w", rule, err)
		}
		if mask != 0 {
			fmt.Fprintf(&b, " and protocol == %d", protocol)
		}
		b.WriteByte('\n')
	}
	b.WriteString("}\n")
	file, err := lang.Parse(name+".hop", []byte(b.String()))
	if err != nil {
		return nil, err
	}
	return compiler.Check(file, nil)
}
