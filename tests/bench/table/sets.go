//go:build linux

package main

import (
	"fmt"

	"github.com/hopgate/hopgate/tests/measure"
)

// setRows measures sets of prefixes beside the kernel's LPM trie.
func setRows() error {
	section("Sets",
		"A policy denies the members of a dynamic set; connect4 or connect6 by connected UDP sockets, half of the addresses members. Beside it a program that only looks the address up in the kernel's LPM trie.",
		"set", "lengths", "prefixes", "read, ms", "build + load, ms", "ns", "LPM trie, ns", "times faster", "memory, MB")
	var v4 float64 // nanoseconds at 100 000 prefixes
	for _, s := range measure.Sets() {
		ipv6 := s.Name[:4] == "IPv6"
		c, err := measure.Set(s)
		if err != nil {
			return fmt.Errorf("%+v: %w", s, err)
		}
		faster, nanos := number(c.Trie/c.Connect), number(c.Connect)
		if s.N == 1_000_000 {
			faster = atLeast(c.Trie/c.Connect, 5)
		}
		if s.N == 100_000 && !ipv6 {
			v4 = c.Connect
		} else if s.N == 100_000 {
			nanos = atMost(c.Connect, 2*v4)
		}
		row(s.Name, fmt.Sprintf("/%d to /%d", s.Least, s.Most), number(float64(s.N)), number(milliseconds(c.Read)), atMost(milliseconds(c.Build+c.Load), 1000),
			nanos, number(c.Trie), faster, atMost(float64(c.Bytes)/1e6, 32))
	}
	return nil
}
