package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/tests/classbench"
)

func classBench(t testing.TB, name string) *compiler.Policy {
	policy, err := classbench.Set(name)
	require.NoError(t, err)
	return policy
}
