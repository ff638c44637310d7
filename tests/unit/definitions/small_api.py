"""A small API, the head of a workflow over it, and the beginnings of two steps."""

from orchestrator.definitions.tasks import TaskRegistry, task, task_of

API = """\
openapi: 3.0.3
info: {title: things, version: '1'}
servers: [{url: 'http://127.0.0.1:1/base/'}]
paths:
  /things:
    get:
      operationId: listThings
      parameters:
        - {name: tag, in: query, schema: {type: array}}
        - {name: plain, in: query, explode: false, schema: {type: array}}
        - {name: filter, in: query, style: deepObject, schema: {type: object}}
      responses: {'200': {description: ok}}
    post:
      operationId: makeThing
      requestBody: {required: true, content: {application/json: {schema: {type: object}}}}
      responses: {'201': {description: made}}
  /things/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string}}]
    get: {operationId: getThing, responses: {'200': {description: ok}}}
    put:
      operationId: putThing
      parameters: [{name: X-Who, in: header, required: true, schema: {type: string}}]
      requestBody: {content: {application/json: {schema: {type: object}}}}
      responses: {'201': {description: made}}
    delete: {operationId: dropThing, responses: {'204': {description: gone}}}
"""

HEAD = """\
arazzo: 1.0.1
info: {title: t, version: '1'}
sourceDescriptions:
  - {name: things, url: ./things.yaml, type: openapi}
  - {name: tasks, url: 'tasks:', type: openapi}
workflows:
  - workflowId: w
    inputs:
      type: object
      required: [id]
      properties: {id: {type: string}, note: {type: string}, tags: {type: array}}
    steps:
"""

GET = (
    "      - {stepId: a, operationId: getThing, "
    "parameters: [{name: id, in: path, value: $inputs.id}]"
)
MAKE = (
    "      - {stepId: m, operationId: makeThing, requestBody: {payload: {id: $inputs.id}}, "
    "outputs: {id: $response.body#/id}"
)
NONE = ", x-compensation: {none: 'nobody minds'}"


@task(effects="none")
def price(amount: int, note: str = "") -> dict[str, int]:
    return {"total": amount}


def registry() -> TaskRegistry:
    found = task_of(price)
    assert found is not None
    return TaskRegistry([found])
