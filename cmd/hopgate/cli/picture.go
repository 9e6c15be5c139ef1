package cli

import "github.com/hopgate/hopgate/compiler"

// drawPolicy writes a picture of a policy's diagram, svg or dot, to a file or to
// standard output.
func (c *console) drawPolicy(policy *compiler.Policy, to, format string) error {
	diagram, err := compiler.Compile(policy, &compiler.CompileOptions{FreeInterfaces: true})
	if err != nil {
		return err
	}
	write := diagram.WriteSVG
	if format == "dot" {
		write = diagram.WriteDOT
	}
	if to == "" || to == "-" {
		return write(c.out)
	}
	return writeFile(to, write)
}
