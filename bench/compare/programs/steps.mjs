// The three steps of `transformWorkflow`, as an author of a system that runs functions would write them.
export const pick = (body) => ({
  branch: body.ref.slice(11),
  repository: body.repository.full_name,
  number: body.number,
});

export const reckon = ({ number }) => ({ doubled: number * 2, large: number > 500 });

export const shape = ({ repository, branch }, { doubled }) => ({
  text: `${repository} on ${branch}`,
  doubled,
});
