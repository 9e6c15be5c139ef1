//go:build linux || windows

package cli

import (
	"cmp"
	"fmt"
	"strings"
	"unicode"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/lang"
)

// decided is an event with the program that wrote it.
type decided struct {
	program *codegen.Program
	codegen.Event
}

// eventLine is a decision as --json prints it.
type eventLine struct {
	answer
	Process   uint32 `json:"process,omitempty"`
	Command   string `json:"command,omitempty"`
	Remote    string `json:"remote"`
	Protocol  uint8  `json:"protocol"`
	Interface string `json:"interface,omitempty"`
}

// printDecision prints a decision of a rule that logs. One that could not be printed does
// not keep later ones from it.
func (c *console) printDecision(o *kernelOptions, e decided) error {
	line := eventLine{
		answer:   answer{Verdict: e.Verdict.String(), Rule: e.program.Rules[e.Rule].ID},
		Process:  e.Process,
		Remote:   e.Request.Remote.String(),
		Protocol: e.Request.Protocol,
		Command:  e.Command,
	}
	if e.Audit >= 0 {
		line.Audit = e.program.Rules[e.Audit].ID
	}
	if e.Process != 0 && e.Command == "" {
		line.Command = processName(e.Process)
	}
	if e.Request.NextHop != 0 {
		line.Interface = interfaceName(&e.Event)
	}
	if o.json {
		_ = c.printJSONLine(line)
	} else {
		protocol := cmp.Or(lang.ProtocolName(line.Protocol), fmt.Sprint(line.Protocol))
		fmt.Fprintf(c.out, "%s: %s/%s", line.text(), line.Remote, protocol)
		if line.Interface != "" {
			fmt.Fprintf(c.out, " by %s", printable(line.Interface))
		}
		if line.Process != 0 {
			fmt.Fprintf(c.out, " from %s[%d]", printable(line.Command), line.Process)
		}
		fmt.Fprintln(c.out)
	}
	err := c.out.Flush()
	if err != nil {
		c.out.Reset(c.stdout)
	}
	return err
}

// printable is a name that others have chosen, on the line where it is printed.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, name)
}
