// Package register has the one store that the tests use, in place of the cloud services'.
package register

import _ "github.com/external-secrets/external-secrets/pkg/provider/kubernetes"
