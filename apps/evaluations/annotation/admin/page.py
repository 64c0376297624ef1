"""One task at a time: what is to be judged, and the form of the queue."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from apps.evaluations.annotation.admin.form import AnnotationForm, initial_of
from apps.evaluations.annotation.admin.showing import readable
from apps.evaluations.annotation.claiming import claim_next, open_annotation, release, skip, submit
from apps.evaluations.annotation.services import counts_of_tasks
from apps.evaluations.annotation.values import configs_of
from apps.evaluations.models import Annotation, AnnotationQueue, AnnotationStatus
from apps.users.principal import Principal
from apps.workflows.admin.showing import operator
from everquant.api.errors import ApiError

_TEMPLATE = "admin/evaluations/annotationqueue/annotate.html"
_NOTHING_LEFT = "There is nothing left for you in this queue."


def annotate(model_admin: Any, request: HttpRequest, queue_id: UUID, annotation_id: UUID | None) -> HttpResponse:
    """Shows the task that the operator has open, or one that they have submitted; POST begins, submits or skips.

    Raises Http404, PermissionDenied for staff who may not add annotations.
    """
    if not request.user.has_perm("evaluations.add_annotation"):
        raise PermissionDenied
    queue = _queue(queue_id)
    by = operator(request, queue.organization_id)
    if request.method == "POST":
        annotation = _posted(request, queue, by)
        form = _form(queue, annotation, request.POST) if annotation else None
        if _act(request, queue, annotation, form, by):
            return HttpResponseRedirect(_address(queue))
    else:
        annotation = _annotation(queue, by, annotation_id)
        form = _form(queue, annotation) if annotation else None
    return _page(model_admin, request, queue, annotation, form, by)


def _queue(queue_id: UUID) -> AnnotationQueue:
    queues: Any = AnnotationQueue.objects.alive().select_related("organization").prefetch_related("criteria")
    found: AnnotationQueue | None = queues.filter(pk=queue_id).first()
    if found is None:
        raise Http404
    return found


def _annotation(queue: AnnotationQueue, by: Principal, annotation_id: UUID | None) -> Annotation | None:
    """The named one of this person, else the one that they have open."""
    if annotation_id is None:
        return open_annotation(queue=queue, by=by)
    own = Annotation.objects.filter(queue=queue, pk=annotation_id).of_person(by.user_id)
    found: Annotation | None = own.submitted().select_related("task").first()
    if found is None:
        raise Http404
    return found


def _posted(request: HttpRequest, queue: AnnotationQueue, by: Principal) -> Annotation | None:
    """The one that the form is of, whatever has become of its claim since; None for a wish to begin."""
    given = request.POST.get("annotation", "")
    own: Any = Annotation.objects.filter(queue=queue).of_person(by.user_id).select_related("task")
    try:
        found: Annotation | None = own.filter(pk=UUID(given)).first()
    except ValueError:
        return None
    return found


def _form(queue: AnnotationQueue, annotation: Annotation, given: Any = None) -> AnnotationForm:
    configs = configs_of(queue)
    return AnnotationForm(configs, given, initial=initial_of(configs, annotation))


def _act(
    request: HttpRequest,
    queue: AnnotationQueue,
    annotation: Annotation | None,
    form: AnnotationForm | None,
    by: Principal,
) -> bool:
    """Whether it was done; if not, the form or a message says why."""
    if annotation is None or form is None:
        return _claim(request, queue, by)
    action = request.POST.get("action", "")
    try:
        if action == "submit":
            if not form.is_valid():
                return False
            was_open = annotation.status == AnnotationStatus.OPEN
            comment = form.cleaned_data["comment"]
            submit(annotation=annotation, by=by, values=form.given_values(), comment=comment)
            return _claim(request, queue, by) if was_open else True
        if action == "release":
            release(annotation=annotation, by=by)
            return True
        skip(annotation=annotation, by=by)
    except ApiError as error:
        form.full_clean()
        form.add_details(error)
        return False
    return _claim(request, queue, by)


def _claim(request: HttpRequest, queue: AnnotationQueue, by: Principal) -> bool:
    try:
        if claim_next(queue=queue, by=by) is None:
            messages.info(request, _NOTHING_LEFT)
    except ApiError as error:
        messages.error(request, error.message)
    return True


def _page(
    model_admin: Any,
    request: HttpRequest,
    queue: AnnotationQueue,
    annotation: Annotation | None,
    form: AnnotationForm | None,
    by: Principal,
) -> HttpResponse:
    task = annotation.task if annotation is not None else None
    shown = [("Input", readable(task.input)), ("Output", readable(task.output))] if task else []
    if task and task.has_expected:
        shown.append(("Expected", readable(task.expected)))
    if task and task.context:
        shown.append(("Context", readable(task.context)))
    earlier = _earlier(queue, annotation, by)
    return TemplateResponse(
        request,
        _TEMPLATE,
        {
            **model_admin.admin_site.each_context(request),
            "title": queue.name,
            "opts": model_admin.opts,
            "queue": queue,
            "annotation": annotation,
            "form": form,
            "questions": form.questions() if form else [],
            "shown": shown,
            "counts": counts_of_tasks(queue),
            "own_count": Annotation.objects.filter(queue=queue).of_person(by.user_id).submitted().count(),
            "address": _address(queue),
            "earlier": _address(queue, earlier) if earlier else "",
        },
    )


def _earlier(queue: AnnotationQueue, annotation: Annotation | None, by: Principal) -> UUID | None:
    """The one that this person has submitted before this one."""
    own: Any = Annotation.objects.filter(queue=queue).of_person(by.user_id).submitted().order_by("-submitted_at", "-id")
    if annotation is not None and annotation.submitted_at is not None:
        own = own.filter(submitted_at__lt=annotation.submitted_at)
    found: UUID | None = own.values_list("id", flat=True).first()
    return found


def _address(queue: AnnotationQueue, annotation_id: UUID | None = None) -> str:
    name = "admin:evaluations_annotationqueue_annotate"
    if annotation_id is None:
        return reverse(name, args=[queue.pk])
    return reverse(f"{name}_again", args=[queue.pk, annotation_id])
