import { Octokit } from '@octokit/rest';
export default async () => {
  const octokit = new Octokit({ auth: 'token' });
  const { data } = await octokit.rest.issues.create({ owner: 'o', repo: 'r', title: 'bug' });
  return { target: data.target, title: JSON.parse(data.body).title };
};
