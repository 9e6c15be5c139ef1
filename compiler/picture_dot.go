package compiler

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// boxColours are the fill and the line of each kind of box.
var boxColours = [...]struct{ fill, line string }{
	testBox:      {"#ffffff", "#495057"},
	startBox:     {"#e9ecef", "#495057"},
	denyBox:      {"#f8d7da", "#b02a37"},
	allowBox:     {"#d1e7dd", "#146c43"},
	allowHardBox: {"#a3cfbb", "#0a3622"},
	omittedBox:   {"#f8f9fa", "#adb5bd"},
}

// WriteDOT draws the diagram in the language of Graphviz. The tests of a large
// diagram that are farthest from the start are left out, and counted.
func (d *Diagram) WriteDOT(w io.Writer) error {
	p := d.picture()
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "digraph %s {\n", dotString(p.name))
	fmt.Fprintln(out, "\trankdir=LR;\n\tnode [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\", fontsize=11];\n\tedge [fontname=\"sans-serif\", fontsize=10];")
	for i, b := range p.boxes {
		style := ""
		if b.kind == omittedBox {
			style = ", style=\"rounded,filled,dashed\""
		}
		fmt.Fprintf(out, "\tn%d [label=%s, fillcolor=%q, color=%q%s];\n", i, dotString(b.text), boxColours[b.kind].fill, boxColours[b.kind].line, style)
	}
	for _, e := range p.edges {
		fmt.Fprintf(out, "\tn%d -> n%d [label=%s];\n", e.from, e.to, dotString(e.label))
	}
	fmt.Fprintln(out, "}")
	return out.Flush()
}

func dotString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}
