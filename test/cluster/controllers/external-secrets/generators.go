// Package register has no generators: each would bring the library of a cloud service.
package register
