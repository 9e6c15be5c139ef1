package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/lang"
)

func (c *console) fmtCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fmt [-l|-d|-w] [--to yaml|hop] FILE...",
		Short: "Format policies, or convert them into the other spelling",
		Long: `Fmt prints policies in canonical form, comments included. With -l or -d the exit code
is 1 if a file is not in that form. Converting with -w writes a new file beside the
old one.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: policyFiles,
	}
	list := cmd.Flags().BoolP("list", "l", false, "print the names of files that are not formatted")
	differences := cmd.Flags().BoolP("diff", "d", false, "print what formatting would change")
	write := cmd.Flags().BoolP("write", "w", false, "write the result to the file")
	to := choiceFlag(cmd, "to", "convert into the other spelling", "", "yaml", "hop")
	cmd.MarkFlagsMutuallyExclusive("list", "diff", "write")
	cmd.RunE = run(func(paths []string) error {
		if to.value != "" && (*list || *differences) {
			return misuse{errors.New("--to makes another file: there is nothing for -l and -d to compare with")}
		}
		failed := false
		for _, path := range paths {
			f, err := format(path, to.value)
			if err == nil {
				switch {
				case *list, *differences:
					failed = failed || f.changed()
					err = c.printChange(f, *differences)
				case *write:
					err = f.write()
				default:
					_, err = c.out.Write(f.after)
				}
			}
			if err != nil {
				failed = true
				c.report(err)
			}
		}
		if failed {
			return errSaid
		}
		return nil
	})
	return cmd
}

// formatted is a file before and after formatting.
type formatted struct {
	path, target  string // the same unless converted
	before, after []byte
}

func format(path, to string) (*formatted, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	file, err := lang.Parse(path, text)
	if err != nil {
		return nil, err
	}
	f := &formatted{path: path, target: path, before: text}
	syntax := file.Syntax
	switch to {
	case "yaml":
		syntax = lang.YAML
	case "hop":
		syntax = lang.DSL
	}
	if syntax != file.Syntax {
		f.target = withoutExtension(path) + "." + to
	}
	f.after = lang.Format(file, syntax)
	return f, nil
}

func (f *formatted) changed() bool { return !bytes.Equal(f.before, f.after) }

// printChange prints the name of a file that is not formatted, or what would
// change in it.
func (c *console) printChange(f *formatted, differences bool) error {
	var err error
	switch {
	case !f.changed():
	case differences:
		_, err = c.out.Write(diff.Diff(f.path, f.before, f.path+" (formatted)", f.after))
	default:
		_, err = fmt.Fprintln(c.out, f.path)
	}
	return err
}

func (f *formatted) write() error {
	if f.target != f.path {
		if _, err := os.Stat(f.target); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: not converted: %s is there already", f.path, f.target)
		}
	} else if !f.changed() {
		return nil
	}
	return writeFile(f.target, func(w io.Writer) error {
		_, err := w.Write(f.after)
		return err
	})
}
