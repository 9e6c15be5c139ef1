package compiler_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/tests/gen"
)

// No text makes Check panic, and a policy's own text is a policy that decides the
// same.
func FuzzCheck(f *testing.F) {
	for _, pattern := range []string{"testdata/errors/*.hop", "testdata/errors/*.yaml", "../examples/*.hop", "../examples/*.yaml"} {
		names, err := filepath.Glob(pattern)
		require.NoError(f, err)
		for _, name := range names {
			text, err := os.ReadFile(name)
			require.NoError(f, err)
			f.Add(string(text), filepath.Ext(name) == ".yaml")
		}
	}
	f.Fuzz(func(t *testing.T, text string, yaml bool) {
		name := "p.hop"
		if yaml {
			name = "p.yaml"
		}
		file, err := lang.Parse(name, []byte(text))
		if file == nil {
			return
		}
		noFiles := &compiler.Options{Open: fileSet{}.open}
		policy, checkErr := compiler.Check(file, noFiles)
		if err != nil || checkErr != nil {
			return
		}
		file, err = lang.Parse("again.hop", []byte(policy.String()))
		require.NoError(t, err, "%s", policy)
		again, err := compiler.Check(file, noFiles)
		require.NoError(t, err, "%s", policy)
		requests, rng := gen.NewRequests(policy), rand.New(rand.NewPCG(1, 2))
		for range 20 {
			r := requests.Random(rng)
			require.Equal(t, policy.Eval(&r), again.Eval(&r), "%s", policy)
		}
	})
}
