//go:build linux

// Table prints the tables of docs/performance.md, measured here and now, in one run:
//
//	sudo go run ./tests/bench/table
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/hopgate/hopgate/tests/baseline"
)

var parts = []struct {
	name  string
	print func() error
}{
	{"rules", rules},
	{"baselines", baselines},
	{"sets", setRows},
	{"windows", windows},
	{"growth", growth},
}

func main() {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	only := flag.String("only", strings.Join(names, ","), "print these parts")
	flag.Parse()
	if err := run(strings.Split(*only, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(only []string) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, to load programs into the kernel: sudo go run ./tests/bench/table")
	}
	if _, err := exec.LookPath("clang"); err != nil && slices.Contains(only, "baselines") {
		return fmt.Errorf("%w; or leave the C baseline out: -only rules,sets,windows,growth", baseline.ErrNoClang)
	}
	fmt.Println("A goal stands in brackets behind what was measured; what misses it is **bold**.")
	for _, p := range parts {
		if slices.Contains(only, p.name) {
			if err := p.print(); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	return nil
}

// section begins a part with a heading, what was measured, and the head of a table.
func section(title, text string, columns ...string) {
	fmt.Printf("\n## %s\n\n%s\n\n", title, text)
	row(columns...)
	row(slices.Repeat([]string{"---"}, len(columns))...)
}

func row(cells ...string) { fmt.Println("| " + strings.Join(cells, " | ") + " |") }

// atMost shows a value beside its goal; 0 is no goal.
func atMost(value, goal float64) string {
	switch {
	case goal == 0:
		return number(value)
	case value > goal:
		return fmt.Sprintf("**%s** (%s)", number(value), number(goal))
	}
	return fmt.Sprintf("%s (%s)", number(value), number(goal))
}

// atLeast is atMost for what should be large.
func atLeast(value, goal float64) string {
	if value < goal {
		return fmt.Sprintf("**%s** (%s)", number(value), number(goal))
	}
	return fmt.Sprintf("%s (%s)", number(value), number(goal))
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// number has two digits at least, and thousands set apart.
func number(v float64) string {
	if v < 10 && v > -10 {
		return fmt.Sprintf("%.1f", v)
	}
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}
